"""The Kubernetes manifests: they render, fit the schemas, and keep to the rules of restricted namespaces."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from support.kustomize import Manifest, containers, pod_spec, render

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "deploy" / "k8s"
VERSIONS = ("1.35", "1.36", "1.37")  # the last three
OURS = {"liveportrait", "wav2lip", "encoder", "speech", "orchestrator", "gateway"}
STAGES = OURS - {"orchestrator", "gateway"}
GRPC = OURS - {"gateway"}
DRAIN_MARGIN_S = 5
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "schemas").glob("*.json")}
PATHS = {
    "base": K8S / "base",
    "dev": K8S / "overlays" / "dev",
    "production": K8S / "overlays" / "production",
}
RENDERED = {name: render(path) for name, path in PATHS.items()}
MANIFESTS = [
    pytest.param(overlay, manifest, id=f"{overlay}-{manifest['kind']}-{manifest['metadata']['name']}")
    for overlay, manifests in RENDERED.items()
    for manifest in manifests
]
WORKLOADS = [item for item in MANIFESTS if pod_spec(item.values[1]) is not None]
SERVERS = [item for item in WORKLOADS if item.values[1]["kind"] in {"Deployment", "StatefulSet"}]
OUR_SERVERS = [item for item in SERVERS if item.values[1]["metadata"]["name"] in OURS]


def find(overlay: str, kind: str, name: str) -> Manifest:
    """The one manifest of this kind and name; generated ones carry a hash of their content behind it."""
    generated = rf"{name}(-[a-z0-9]{{10}})?" if kind == "ConfigMap" else name
    (found,) = [
        item for item in RENDERED[overlay] if item["kind"] == kind and re.fullmatch(generated, item["metadata"]["name"])
    ]
    return found


def kinds(overlay: str, kind: str) -> list[Manifest]:
    return [item for item in RENDERED[overlay] if item["kind"] == kind]


def environment(manifest: Manifest) -> dict[str, Any]:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in containers(manifest)[0]["env"]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("overlay", "manifest"), MANIFESTS)
def test_the_manifest_fits_the_schema(overlay: str, manifest: Manifest, version: str):
    if manifest["kind"] in SCHEMAS:
        jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_these_are_the_newest_versions_that_the_validator_knows():
    assert kubernetes_validate.latest_version().startswith(VERSIONS[-1])


def test_a_misspelt_field_is_found():
    broken = json.loads(json.dumps(find("base", "Deployment", "encoder")))
    broken["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)
    rule = json.loads(json.dumps(find("production", "PrometheusRule", "visema")))
    rule["spec"]["groups"][0]["rules"][0]["exprs"] = "1"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(rule, SCHEMAS["PrometheusRule"])


def test_a_kustomization_that_cannot_be_rendered_is_found(tmp_path: Path):
    (tmp_path / "kustomization.yaml").write_text("resources:\n  - gone.yaml\n")
    with pytest.raises(AssertionError, match="gone"):
        render(tmp_path)


def test_every_component_is_part_of_an_overlay_or_renders_on_the_base(tmp_path: Path):
    for component in sorted((K8S / "components").iterdir()):
        folder = tmp_path / component.name
        folder.mkdir()
        needs = ["checkpoints"] if component.name in {"cpu", "gpu"} else []
        lines = [f"  - {os.path.relpath(component.with_name(name), folder)}" for name in [*needs, component.name]]
        base = os.path.relpath(K8S / "base", folder)  # kustomize wants relative paths
        (folder / "kustomization.yaml").write_text(f"resources:\n  - {base}\ncomponents:\n" + "\n".join(lines))
        assert len(render(folder)) >= len(RENDERED["base"])


@pytest.mark.parametrize(("overlay", "manifest"), WORKLOADS)
def test_pods_fit_the_restricted_pod_security_standard(overlay: str, manifest: Manifest):
    pod = pod_spec(manifest)
    assert pod is not None
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all("hostPath" not in volume for volume in pod.get("volumes", []))
    for container in containers(manifest):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(("overlay", "manifest"), WORKLOADS)
def test_containers_have_requests_and_limits(overlay: str, manifest: Manifest):
    for container in containers(manifest):
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize(("overlay", "manifest"), WORKLOADS)
def test_images_are_pinned(overlay: str, manifest: Manifest):
    for container in containers(manifest):
        assert re.search(r"(:[A-Za-z0-9._-]*\d[A-Za-z0-9._-]*|@sha256:[0-9a-f]{64})$", container["image"])
        assert not container["image"].endswith(":latest")


@pytest.mark.parametrize(("overlay", "manifest"), WORKLOADS)
def test_every_mounted_volume_and_writable_folder_is_declared(overlay: str, manifest: Manifest):
    pod = pod_spec(manifest)
    assert pod is not None
    claims = {claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", [])}
    volumes = {volume["name"] for volume in pod.get("volumes", [])} | claims
    for container in containers(manifest):
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
        if container["image"].startswith("visema/"):
            assert "/scratch" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert all(volume["emptyDir"].get("sizeLimit") for volume in pod.get("volumes", []) if "emptyDir" in volume)


@pytest.mark.parametrize(("overlay", "manifest"), WORKLOADS)
def test_keys_and_certificates_never_share_a_folder_with_scratch_files(overlay: str, manifest: Manifest):
    """Whoever may write scratch files could lay down a certificate there."""
    for container in containers(manifest):
        scratch = {mount["mountPath"] for mount in container.get("volumeMounts", [])} & {"/tmp", "/scratch"}
        named = [*container.get("args", []), *container.get("command", [])]
        named += [str(item.get("value", "")) for item in container.get("env", []) if "TLS" in item["name"]]
        for path in [*named, *(mount["mountPath"] for mount in container.get("volumeMounts", []))]:
            if re.search(r"certs?\b|tls", path):
                assert not any(path.startswith(f"{folder}/") for folder in scratch), path


@pytest.mark.parametrize(("overlay", "manifest"), SERVERS)
def test_servers_have_all_three_probes_on_ports_that_exist(overlay: str, manifest: Manifest):
    (container,) = containers(manifest)
    ports = {port["containerPort"] for port in container["ports"]} | {port["name"] for port in container["ports"]}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container[kind]
        for handler in ("grpc", "httpGet", "tcpSocket"):
            if handler in probe:
                assert probe[handler]["port"] in ports
    if manifest["metadata"]["name"] in GRPC:
        assert "grpc" in container["readinessProbe"]


@pytest.mark.parametrize(("overlay", "manifest"), OUR_SERVERS)
def test_pods_have_time_to_drain(overlay: str, manifest: Manifest):
    pod = pod_spec(manifest)
    assert pod is not None
    (container,) = pod["containers"]
    pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace_s = float(environment(manifest)["VISEMA_GRACE_S"])
    assert pause_s >= 1
    assert pod["terminationGracePeriodSeconds"] >= pause_s + grace_s + DRAIN_MARGIN_S


@pytest.mark.parametrize(("overlay", "manifest"), OUR_SERVERS)
def test_replicas_are_spread_and_protected_from_disruption(overlay: str, manifest: Manifest):
    name = manifest["metadata"]["name"]
    pod = pod_spec(manifest)
    assert pod is not None
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"]["matchLabels"].items() <= labels.items()
    budget = find(overlay, "PodDisruptionBudget", name)["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_the_stages_differ_in_name_and_resources_only():
    """Each has a complete file, for people to read; what is changed in one of them belongs into all."""
    shapes = {stage: [] for stage in STAGES}
    for manifest in RENDERED["base"]:
        name = manifest["metadata"]["name"]
        if name in STAGES:
            shape = json.loads(json.dumps(manifest).replace(name, "stage"))
            for container in containers(shape):
                del container["resources"]
            shapes[name].append(shape)
    assert len(shapes["wav2lip"]) == 4  # deployment, service, account, disruption budget
    for stage in STAGES:
        assert shapes[stage] == shapes["wav2lip"]


@pytest.mark.parametrize("overlay", PATHS)
def test_clients_of_grpc_services_see_every_replica(overlay: str):
    for name in GRPC:
        service = find(overlay, "Service", name)["spec"]
        assert service["clusterIP"] == "None"
        assert service["ports"][0]["port"] == 50051


@pytest.mark.parametrize("overlay", PATHS)
def test_the_orchestrator_has_stable_executor_ids(overlay: str):
    orchestrator = find(overlay, "StatefulSet", "orchestrator")
    assert environment(orchestrator)["VISEMA_EXECUTOR_ID"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert orchestrator["spec"]["serviceName"] == find(overlay, "Service", "orchestrator")["metadata"]["name"]


@pytest.mark.parametrize("overlay", PATHS)
def test_addresses_name_services_that_exist(overlay: str):
    services = {item["metadata"]["name"] for item in kinds(overlay, "Service")}
    for manifest in RENDERED[overlay]:
        if manifest["metadata"]["name"] in OURS and pod_spec(manifest) is not None:
            for name, value in environment(manifest).items():
                if name.endswith("_ADDRESS"):
                    host, port = value.split(":")
                    assert host in services
                    assert port == "50051"


@pytest.mark.parametrize("overlay", PATHS)
def test_no_secret_is_part_of_the_manifests(overlay: str):
    assert kinds(overlay, "Secret") == []
    for manifest in RENDERED[overlay]:
        for container in containers(manifest):
            for item in container.get("env", []):
                if re.search("SECRET|PASSWORD|ACCESS_KEY|DATABASE_URL", item["name"]):
                    assert "secretKeyRef" in item["valueFrom"]


@pytest.mark.parametrize("overlay", PATHS)
def test_the_namespace_enforces_the_restricted_standard(overlay: str):
    labels = find(overlay, "Namespace", "visema")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_variables_exist_in_the_services_settings():
    from visema_encoder.settings import EncoderSettings
    from visema_gateway.settings import GatewaySettings
    from visema_liveportrait.settings import LiveportraitSettings
    from visema_orchestrator.settings import OrchestratorSettings
    from visema_speech.settings import SpeechSettings
    from visema_wav2lip.settings import Wav2LipSettings

    settings = {
        "encoder": EncoderSettings,
        "gateway": GatewaySettings,
        "liveportrait": LiveportraitSettings,
        "orchestrator": OrchestratorSettings,
        "speech": SpeechSettings,
        "wav2lip": Wav2LipSettings,
    }
    assert settings.keys() == OURS
    for overlay in PATHS:
        config = find(overlay, "ConfigMap", "visema-config")["data"]
        for name, known in settings.items():
            kind = "StatefulSet" if name == "orchestrator" else "Deployment"
            for variable in environment(find(overlay, kind, name)):
                assert variable.removeprefix("VISEMA_").lower() in known.model_fields
        for variable in config:
            assert variable.removeprefix("VISEMA_").lower() in {
                field for known in settings.values() for field in known.model_fields
            }


@pytest.mark.parametrize("overlay", PATHS)
def test_the_gateway_tells_clients_apart_behind_an_ingress(overlay: str):
    proxies = environment(find(overlay, "Deployment", "gateway"))["VISEMA_TRUSTED_PROXIES"]
    networks = [ip_network(network) for network in proxies.split(",")]
    assert any(ip_address("10.244.1.7") in network for network in networks)
    assert not any(ip_address("203.0.113.9") in network for network in networks)  # a client's word for itself
    if overlay == "production":
        assert find(overlay, "ConfigMap", "visema-config")["data"]["VISEMA_PUBLIC_URL"].startswith("https://")


@pytest.mark.parametrize("overlay", ["dev", "production"])
def test_network_policies_deny_by_default(overlay: str):
    policy = find(overlay, "NetworkPolicy", "default-deny")["spec"]
    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("overlay", ["dev", "production"])
def test_pods_reach_outside_only_where_it_is_declared(overlay: str):
    allowed = {"external-s3", "external-postgres", "webhooks", "checkpoints-download"}
    for policy in kinds(overlay, "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            assert rule["to"], "a rule without peers allows everything"
            assert rule["ports"]
            for peer in rule["to"]:
                if "ipBlock" in peer:
                    assert policy["metadata"]["name"] in allowed
                    ipaddress.ip_network(peer["ipBlock"]["cidr"])
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"]
            assert rule["ports"]


@pytest.mark.parametrize("overlay", ["dev", "production"])
def test_policies_let_every_service_reach_whom_it_calls(overlay: str):
    def admits(policy_name: str, caller: str) -> bool:
        spec = find(overlay, "NetworkPolicy", policy_name)["spec"]
        return any(
            caller in expression["values"]
            for rule in spec["ingress"]
            for peer in rule["from"]
            for expression in peer.get("podSelector", {}).get("matchExpressions", [])
        )

    def selects(policy_name: str, name: str) -> bool:
        selector = find(overlay, "NetworkPolicy", policy_name)["spec"]["podSelector"]
        return any(name in expression["values"] for expression in selector["matchExpressions"])

    assert admits("stages", "orchestrator")
    assert selects("stages", "speech")
    assert admits("orchestrator", "gateway")
    assert admits("database", "orchestrator")
    for name in (*GRPC, "bucket-lifecycle"):
        assert admits("object-store", name)
    assert not admits("stages", "gateway")
    assert not admits("database", "liveportrait")


def test_production_runs_stages_on_gpus_from_their_own_images():
    for name in ("liveportrait", "wav2lip"):
        (container,) = containers(find("production", "Deployment", name))
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert container["image"].endswith("-cuda")
        assert environment(find("production", "Deployment", name))["VISEMA_CHECKPOINT_DIR"] == "/checkpoints"
    assert find("production", "Job", "checkpoints-download")["spec"]["template"]["spec"]["containers"][0][
        "image"
    ].endswith("-cuda")


def test_production_speaks_mtls_and_probes_the_plaintext_health_port():
    for name in GRPC:
        kind = "StatefulSet" if name == "orchestrator" else "Deployment"
        manifest = find("production", kind, name)
        (container,) = containers(manifest)
        assert "VISEMA_TLS_CLIENT_CA" in environment(manifest)
        assert container["readinessProbe"]["grpc"]["port"] == 50052
        certificate = find("production", "Certificate", name)["spec"]
        assert name in certificate["dnsNames"]
        assert certificate["secretName"] in {
            volume.get("secret", {}).get("secretName") for volume in pod_spec(manifest)["volumes"]
        }


def test_autoscalers_own_the_number_of_replicas():
    scaled = {item["spec"]["scaleTargetRef"]["name"] for item in kinds("production", "ScaledObject")}
    scaled |= {item["spec"]["scaleTargetRef"]["name"] for item in kinds("production", "HorizontalPodAutoscaler")}
    assert scaled == {"liveportrait", "wav2lip", "encoder", "gateway"}
    for name in scaled:
        assert "replicas" not in find("production", "Deployment", name)["spec"]


def test_autoscaling_and_scraping_use_names_that_exist():
    rules = find("production", "PrometheusRule", "visema")["spec"]["groups"]
    recorded = {rule["record"] for group in rules for rule in group["rules"] if "record" in rule}
    for item in kinds("production", "ScaledObject"):
        for trigger in item["spec"]["triggers"]:
            assert any(name in trigger["metadata"]["query"] for name in recorded)
    monitor = find("production", "PodMonitor", "visema")["spec"]
    assert {"targetLabel": "job", "replacement": "visema"} in monitor["podMetricsEndpoints"][0]["relabelings"]
