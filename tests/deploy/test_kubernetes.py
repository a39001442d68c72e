"""deploy/kubernetes: what the API server would take, and what the server keeps."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings
from tests.deploy.manifests import (
    DEPLOY,
    KUBERNETES,
    OVERLAYS,
    Manifest,
    check_settings,
    one,
    render,
    routes,
)
from tests.server import ROOT

_SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
_VERSIONS = {path.name.split("-")[0].removeprefix("v") for path in _SCHEMAS.glob("v*-local-strict")}
VERSIONS = sorted(v for v in _VERSIONS if int(v.split(".")[1]) >= 29)
KINDS = {
    "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy",
    "PodDisruptionBudget", "Service", "ServiceMonitor",
}  # fmt: skip
PROBES = {"startupProbe": "/startup", "readinessProbe": "/ready", "livenessProbe": "/live"}
ADAPTER = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


def pod(overlay: str) -> Any:
    """Return the pod's part of the Deployment."""
    return one(render(overlay), "Deployment")["spec"]["template"]["spec"]


def server(overlay: str) -> Any:
    """Return the only container."""
    [container] = pod(overlay)["containers"]
    return container


def settings(overlay: str) -> Settings:
    """Return the settings that the container would start with."""
    config = one(render(overlay), "ConfigMap")
    [source] = server(overlay)["envFrom"]
    assert source == {"configMapRef": {"name": config["metadata"]["name"]}}
    names = {variable["name"]: "secret" for variable in server(overlay)["env"]}
    return check_settings(
        {**config["data"], **names}, pod(overlay)["terminationGracePeriodSeconds"]
    )


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


def exposed() -> dict[str, Manifest]:
    """Return the adapter's rules by the name that the autoscaler finds them under."""
    rules = ADAPTER["rules"]["custom"]
    return {rule.get("name", {}).get("as") or series(rule): rule for rule in rules}


def series(rule: Manifest) -> str:
    """Return the name of the series that a rule starts from."""
    match = re.match(r"[\w:]+", rule["seriesQuery"])
    assert match
    return match[0]


@every_overlay
def test_autoscaler_finds_each_of_its_metrics(overlay: str) -> None:
    spec = one(render(overlay), "HorizontalPodAutoscaler")["spec"]
    deployment = one(render(overlay), "Deployment")

    assert {metric["type"] for metric in spec["metrics"]} == {"Pods"}
    assert {metric["pods"]["metric"]["name"] for metric in spec["metrics"]} == exposed().keys()
    assert spec["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert spec["minReplicas"] >= 2


@pytest.mark.parametrize("rule", exposed().values(), ids=series)
def test_adapter_makes_a_metric_from_a_gauge_that_exists(rule: Manifest) -> None:
    documented = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    recorded = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())
    records = {rule.get("record") for group in recorded["groups"] for rule in group["rules"]}

    for name in {series(rule), *re.findall(r"unbroken_\w+", rule["metricsQuery"])}:
        if ":" in name:
            assert name in records
        else:
            line = next((line for line in documented.splitlines() if f"`{name}`" in line), "")
            assert "gauge" in line, f"{name} is no gauge of docs/reference/metrics.md"


@pytest.mark.parametrize("rule", exposed().values(), ids=series)
def test_adapter_knows_the_pod_of_each_series(rule: Manifest) -> None:
    assert rule["seriesQuery"] == f'{series(rule)}{{namespace!="",pod!=""}}'
    assert rule["resources"]["overrides"] == {
        "namespace": {"resource": "namespace"}, "pod": {"resource": "pod"},
    }  # fmt: skip
    for placeholder in ("<<.Series>>", "<<.LabelMatchers>>", "by (<<.GroupBy>>)"):
        assert placeholder in rule["metricsQuery"]


@every_overlay
def test_autoscaler_adds_pods_before_requests_are_refused(overlay: str) -> None:
    metrics = one(render(overlay), "HorizontalPodAutoscaler")["spec"]["metrics"]
    targets = {
        metric["pods"]["metric"]["name"]: metric["pods"]["target"]["averageValue"]
        for metric in metrics
    }
    bound = settings(overlay).max_concurrent_requests

    assert int(targets["unbroken_requests_in_progress"]) <= bound / 2
    assert int(targets["unbroken_queue_length"]) <= bound / 2
