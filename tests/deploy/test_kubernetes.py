"""deploy/kubernetes: what the API server would take, and what the server keeps."""

from pathlib import Path

import kubernetes_validate
import pytest

from tests.deploy.kubernetes import VERSIONS, every_overlay, one, pod, render, server, settings
from tests.deploy.manifests import routes

KINDS = {
    "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy",
    "PodDisruptionBudget", "Service", "ServiceMonitor",
}  # fmt: skip
PROBES = {"startupProbe": "/startup", "readinessProbe": "/ready", "livenessProbe": "/live"}


def test_every_version_from_1_29_on_is_there_to_check_against() -> None:
    minors = [int(version.split(".")[1]) for version in VERSIONS]

    assert minors == list(range(29, max(minors) + 1))
    assert max(minors) >= 37


@every_overlay
def test_overlay_has_every_kind_once(overlay: str) -> None:
    kinds = [resource["kind"] for resource in render(overlay)]

    assert len(kinds) == len(set(kinds))
    assert set(kinds) - {"PersistentVolumeClaim"} == KINDS


@every_overlay
@pytest.mark.parametrize("version", VERSIONS)
def test_resources_are_what_the_api_takes(overlay: str, version: str) -> None:
    for resource in render(overlay):
        if resource["kind"] != "ServiceMonitor":  # no part of Kubernetes: its own test is below
            kubernetes_validate.validate(resource, version, strict=True)


def test_a_wrong_field_would_be_found() -> None:
    wrong = {**one(render("cpu"), "PodDisruptionBudget"), "spec": {"maxUnavaillable": 1}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


@every_overlay
def test_settings_are_known_allowed_and_fit_into_the_grace(overlay: str) -> None:
    settings(overlay)


@every_overlay
def test_each_probe_asks_its_own_question_on_a_port_that_is_served(overlay: str) -> None:
    [port] = server(overlay)["ports"]

    assert port == {"name": "http", "containerPort": settings(overlay).port}
    for name, path in PROBES.items():
        assert server(overlay)[name]["httpGet"] == {"path": path, "port": "http"}
        assert (path, "GET") in routes()


@every_overlay
def test_startup_outlasts_the_slowest_load_and_the_rollout_outlasts_startup(overlay: str) -> None:
    probe = server(overlay)["startupProbe"]
    patience = probe["periodSeconds"] * probe["failureThreshold"]
    rollout = one(render(overlay), "Deployment")["spec"]["progressDeadlineSeconds"]

    assert settings(overlay).load_seconds < patience < rollout


@every_overlay
def test_liveness_gives_up_after_readiness(overlay: str) -> None:
    ready, live = server(overlay)["readinessProbe"], server(overlay)["livenessProbe"]

    assert (
        ready["periodSeconds"] * ready["failureThreshold"]
        < live["periodSeconds"] * live["failureThreshold"]
    )


@every_overlay
def test_an_update_never_takes_a_pod_before_its_successor_is_ready(overlay: str) -> None:
    deployment = one(render(overlay), "Deployment")["spec"]

    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert "replicas" not in deployment  # an apply would undo what the autoscaler chose


@every_overlay
def test_container_has_no_more_than_it_needs(overlay: str) -> None:
    security = server(overlay)["securityContext"]

    assert pod(overlay)["securityContext"] == {
        "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert pod(overlay)["automountServiceAccountToken"] is False


@every_overlay
def test_whatever_is_written_or_read_lies_on_a_volume(overlay: str) -> None:
    mounts = {mount["mountPath"]: mount for mount in server(overlay)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(overlay)["volumes"]}
    temporary = mounts["/tmp"]
    values = settings(overlay)

    assert values.state_dir.startswith("/tmp/")
    assert "emptyDir" in volumes[temporary["name"]]
    assert not temporary.get("readOnly")
    if values.model_path is not None:
        models = mounts[str(Path(values.model_path).parent)]
        claim = volumes[models["name"]]["persistentVolumeClaim"]["claimName"]
        assert claim == one(render(overlay), "PersistentVolumeClaim")["metadata"]["name"]
        assert models["readOnly"] is True


def test_gpu_overlay_asks_for_a_gpu_and_cpu_overlay_does_not() -> None:
    assert server("gpu")["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert settings("gpu").device == "cuda"
    assert pod("gpu")["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert {toleration["key"] for toleration in pod("gpu")["tolerations"]} == {"nvidia.com/gpu"}
    assert "nvidia" not in str(pod("cpu"))
    assert settings("cpu").device == "cpu"


@every_overlay
def test_everything_selects_the_pods_and_nothing_else(overlay: str) -> None:
    labels = {"app.kubernetes.io/name": "unbroken"}
    resources = render(overlay)
    spec = one(resources, "Deployment")["spec"]
    selectors = [
        spec["selector"]["matchLabels"],
        one(resources, "Service")["spec"]["selector"],
        one(resources, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(resources, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(c["labelSelector"]["matchLabels"] for c in pod(overlay)["topologySpreadConstraints"]),
    ]

    assert spec["template"]["metadata"]["labels"] == labels
    assert all(selector == labels for selector in selectors)


@every_overlay
def test_service_and_network_policy_lead_to_the_containers_port(overlay: str) -> None:
    [port] = one(render(overlay), "Service")["spec"]["ports"]
    [rule] = one(render(overlay), "NetworkPolicy")["spec"]["ingress"]

    assert port["targetPort"] == "http"
    assert [port["port"] for port in rule["ports"]] == ["http"]


@every_overlay
def test_ingress_leads_to_predictions_alone(overlay: str) -> None:
    [rule] = one(render(overlay), "Ingress")["spec"]["rules"]

    for path in rule["http"]["paths"]:
        assert path["pathType"] == "Exact"
        assert (path["path"], "POST") in routes()
        assert path["backend"] == {"service": {"name": "unbroken", "port": {"name": "http"}}}


@every_overlay
def test_ingress_waits_longer_and_takes_as_much_as_the_server(overlay: str) -> None:
    annotations = one(render(overlay), "Ingress")["metadata"]["annotations"]
    values = settings(overlay)
    sizes = [value for name, value in annotations.items() if name.endswith("body-size")]
    waits = [value for name, value in annotations.items() if "read-timeout" in name]

    assert sizes == [f"{values.max_body_mb}m"] * 2
    assert len(waits) == 2
    assert all(int(wait.rstrip("s")) > values.request_timeout_seconds for wait in waits)


@every_overlay
def test_service_monitor_scrapes_the_metrics_of_the_service(overlay: str) -> None:
    monitor = one(render(overlay), "ServiceMonitor")
    service = one(render(overlay), "Service")
    [endpoint] = monitor["spec"]["endpoints"]

    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"].keys() == {"jobLabel", "selector", "endpoints"}
    assert monitor["spec"]["jobLabel"] in service["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert endpoint.keys() == {"port", "path", "interval", "scrapeTimeout"}
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert (endpoint["path"], "GET") in routes()
    assert int(endpoint["scrapeTimeout"][:-1]) <= int(endpoint["interval"][:-1])
