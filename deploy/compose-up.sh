#!/usr/bin/env bash
# Start everything in containers and say where it is. Makes .env with random secrets at the first start.
set -euo pipefail
cd "$(dirname "$0")/.."

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

if [ ! -e .env ]; then
  (
    umask 077
    {
      echo "# Secrets of the compose stack, made by make compose-up; not for git."
      echo "VISEMA_S3_ACCESS_KEY=visema$(random | cut -c1-12)"
      echo "VISEMA_S3_SECRET_KEY=$(random)"
      echo "POSTGRES_PASSWORD=$(random)"
      echo "GRAFANA_PASSWORD=$(random)"
    } > .env
  )
fi
setting() { sed -n "s/^$1=//p" .env | tail -n 1; }
port() { local value; value=${!1:-$(setting "$1")}; echo "${value:-$2}"; }

# Clients open presigned addresses from this machine.
public=${VISEMA_S3_PUBLIC_ENDPOINT:-$(setting VISEMA_S3_PUBLIC_ENDPOINT)}
export VISEMA_S3_PUBLIC_ENDPOINT="${public:-http://127.0.0.1:$(port OBJECT_STORE_PORT 9000)}"

if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
"${compose[@]}" up -d --build "$@"

cat <<TEXT

VISEMA runs:
  web page, REST   http://127.0.0.1:$(port GATEWAY_PORT 8080)
  gRPC             127.0.0.1:$(port VISEMA_PORT 50051)
  Grafana          http://127.0.0.1:$(port GRAFANA_PORT 3000)  user admin, GRAFANA_PASSWORD in .env
  Prometheus       http://127.0.0.1:$(port PROMETHEUS_PORT 9090)
  object store     http://127.0.0.1:$(port OBJECT_STORE_PORT 9000)
Stop it with: ${compose[*]} down        (with -v the data go too)
TEXT
