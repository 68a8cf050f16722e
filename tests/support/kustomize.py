"""Renders the kustomizations of deploy/k8s: exactly the features that they use; anything else is refused.

Order as in kustomize: resources, components, generators, patches, namespace, images. Generated names get no hash.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

KNOWN = {
    *("apiVersion", "kind", "namespace", "resources", "components"),
    *("configMapGenerator", "patches", "images"),
}
CLUSTER_SCOPED = {"Namespace"}
# Kubernetes' own list merge keys, by the name of the list.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}


class NotSupported(ValueError):
    """The kustomization uses something that this renderer does not know."""


def render(folder: Path) -> list[Manifest]:
    """All manifests of a kustomization."""
    return _accumulate(folder.resolve(), [])


def _accumulate(folder: Path, manifests: list[Manifest]) -> list[Manifest]:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := set(kustomization) - KNOWN:
        raise NotSupported(f"{folder.name}: {sorted(unknown)}")
    for entry in kustomization.get("resources", []):
        path = (folder / entry).resolve()
        if path.is_dir():
            manifests += _accumulate(path, [])
        else:
            _stay_inside(folder, path)
            manifests += [item for item in yaml.safe_load_all(path.read_text()) if item is not None]
    for entry in kustomization.get("components", []):
        manifests = _accumulate((folder / entry).resolve(), manifests)
    for generator in kustomization.get("configMapGenerator", []):
        _generate(folder, generator, manifests)
    for patch in kustomization.get("patches", []):
        _patch(folder, patch, manifests)
    if namespace := kustomization.get("namespace"):
        for manifest in manifests:
            if manifest["kind"] not in CLUSTER_SCOPED:
                manifest["metadata"]["namespace"] = namespace
    for image in kustomization.get("images", []):
        _set_image(image, manifests)
    names = [(item["kind"], item["metadata"]["name"]) for item in manifests]
    if len(set(names)) != len(names):
        raise ValueError(f"{folder.name}: two manifests of one kind and name")
    return manifests


def _stay_inside(folder: Path, path: Path) -> None:
    """As in kustomize: it reads files below the kustomization only."""
    if folder not in path.parents:
        raise ValueError(f"{path} lies outside {folder}")


def _generate(folder: Path, generator: Mapping[str, Any], manifests: list[Manifest]) -> None:
    if unknown := set(generator) - {"name", "behavior", "literals", "files", "options"}:
        raise NotSupported(f"configMapGenerator: {sorted(unknown)}")
    content = dict(literal.split("=", 1) for literal in generator.get("literals", []))
    for name in generator.get("files", []):
        path = (folder / name).resolve()
        _stay_inside(folder, path)
        content[path.name] = path.read_text()
    if generator.get("behavior", "create") == "merge":
        _named(manifests, "ConfigMap", generator["name"])["data"].update(content)
        return
    metadata: dict[str, Any] = {"name": generator["name"]}
    if labels := generator.get("options", {}).get("labels"):
        metadata["labels"] = labels
    manifests.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": content})


def _named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [item for item in manifests if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def _patch(folder: Path, entry: Mapping[str, Any], manifests: list[Manifest]) -> None:
    if unknown := set(entry) - {"path", "patch", "target"}:
        raise NotSupported(f"patch: {sorted(unknown)}")
    patch = yaml.safe_load(entry["patch"] if "patch" in entry else (folder / entry["path"]).read_text())
    if isinstance(patch, dict):
        _merge(_named(manifests, patch["kind"], patch["metadata"]["name"]), patch)
        return
    target = entry["target"]
    if unknown := set(target) - {"kind", "name"}:
        raise NotSupported(f"target: {sorted(unknown)}")
    hits = [
        item
        for item in manifests
        if re.fullmatch(target["kind"], item["kind"])
        and re.fullmatch(target.get("name", ".*"), item["metadata"]["name"])
    ]
    if not hits:
        raise ValueError(f"{folder.name}: no manifest for {dict(target)}")
    for item in hits:
        for operation in patch:
            _apply(item, copy.deepcopy(operation))


def _apply(manifest: Manifest, operation: Mapping[str, Any]) -> None:
    """One JSON patch operation (RFC 6902). Raises: KeyError, IndexError: the path does not exist."""
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    place: Any = manifest
    for part in way:
        place = place[int(part)] if isinstance(place, list) else place[part]
    match operation["op"], place:
        case "add", list() if last == "-":
            place.append(operation["value"])
        case "add", dict():
            place[last] = operation["value"]
        case "replace", dict():
            place[last]  # must exist
            place[last] = operation["value"]
        case "remove", dict():
            del place[last]
        case other, _:
            raise NotSupported(f"{other} {operation['path']}")


def _merge(target: Any, patch: Mapping[str, Any]) -> None:
    """A strategic merge patch."""
    for key, value in patch.items():
        if key.startswith("$"):
            raise NotSupported(key)
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        elif isinstance(value, list) and key in MERGE_KEYS and key in target:
            _merge_lists(target[key], value, MERGE_KEYS[key])
        else:
            target[key] = copy.deepcopy(value)


def _merge_lists(target: list[Any], patch: list[Any], key: str) -> None:
    for item in patch:
        twin = next((known for known in target if known[key] == item[key]), None)
        if twin is None:
            target.append(copy.deepcopy(item))
        else:
            _merge(twin, item)


def _set_image(image: Mapping[str, Any], manifests: list[Manifest]) -> None:
    if unknown := set(image) - {"name", "newTag", "newName"}:
        raise NotSupported(f"images: {sorted(unknown)}")
    for manifest in manifests:
        for container in containers(manifest):
            name, _, tag = container["image"].rpartition(":")
            if name == image["name"]:
                container["image"] = f"{image.get('newName', name)}:{image.get('newTag', tag)}"


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
