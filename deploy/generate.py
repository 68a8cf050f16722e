"""Write what is generated below deploy/: `make deploy-files`; a test says when it is stale.

Grafana's dashboards come from grafana/*.py. The Kubernetes PrometheusRule has the rules of
prometheus/visema.rules.yml: kustomize cannot wrap one file in another.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

from grafana.catalogue import DASHBOARDS

HERE = Path(__file__).resolve().parent
RULES = HERE / "prometheus" / "visema.rules.yml"
PROMETHEUS_RULE = HERE / "k8s" / "components" / "monitoring" / "prometheus-rule.yaml"

_HEAD = """\
# Generated from deploy/prometheus/visema.rules.yml by `make deploy-files`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: visema
spec:
"""


def files() -> dict[Path, str]:
    """Path to content of everything that is generated."""
    made = {
        HERE / "grafana" / "dashboards" / f"{dashboard.uid}.json": json.dumps(
            dashboard.to_json(), indent=1, ensure_ascii=False
        )
        + "\n"
        for dashboard in DASHBOARDS
    }
    rules = RULES.read_text(encoding="utf-8")
    made[PROMETHEUS_RULE] = _HEAD + textwrap.indent(rules[rules.index("groups:") :], "  ")
    return made


def main() -> None:
    """Write them."""
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
