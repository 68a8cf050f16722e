#!/usr/bin/env bash
# Make the databases at the first start, then serve.
set -euo pipefail
if [ ! -e "$PGDATA/PG_VERSION" ]; then
  initdb --encoding=UTF8 --auth=scram-sha-256 --username="$POSTGRES_USER" --pwfile=<(printf '%s' "$POSTGRES_PASSWORD") >/dev/null
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  export PGPASSWORD="$POSTGRES_PASSWORD" PGUSER="$POSTGRES_USER" PGHOST=/tmp
  pg_ctl -w -o "-k /tmp -c listen_addresses=" start >/dev/null
  createdb "$POSTGRES_DB"
  for script in /docker-entrypoint-initdb.d/*.sql; do psql --quiet -v ON_ERROR_STOP=1 -d "$POSTGRES_DB" -f "$script"; done
  pg_ctl -w stop >/dev/null
fi
exec postgres -k /tmp -c listen_addresses='*'
