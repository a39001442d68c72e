"""What docs/how-to/ has one type works: its files are there, its manifests are valid."""

import re
import shutil
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from app import probe
from tests.deploy.kubernetes import KUBERNETES, VERSIONS, one, render
from tests.server import ROOT

PAGES = sorted((ROOT / "docs" / "how-to").glob("deploy-*.md"))
TEXT = (ROOT / "docs" / "how-to" / "deploy-kubernetes.md").read_text()


def heredoc(command: str) -> str:
    """Return what a command of the page gets on its standard input."""
    match = re.search(
        rf"^{re.escape(command)}[^\n]*<<'END'\n(.*?)^END$", TEXT, re.DOTALL | re.MULTILINE
    )
    assert match, command
    return match[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = set(re.findall(r"\bdeploy/[\w./-]+\.(?:yaml|json|conf)\b", page.read_text()))

    assert {name for name in named if not (ROOT / name).exists()} <= {
        "deploy/kubernetes/overlays/vision/kustomization.yaml"  # the reader's own
    }


def test_the_readers_own_overlay_renders(tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path, dirs_exist_ok=True)
    own = tmp_path / "overlays" / "vision"
    own.mkdir()
    text = heredoc("cat > deploy/kubernetes/overlays/vision/kustomization.yaml")
    (own / "kustomization.yaml").write_text(text)

    resources = render("vision", tmp_path)

    assert "ServiceMonitor" not in {resource["kind"] for resource in resources}
    assert {resource["metadata"]["namespace"] for resource in resources} == {"vision"}
    assert one(resources, "ConfigMap")["data"]["MAX_BODY_MB"] == "16"
    for resource in resources:
        kubernetes_validate.validate(resource, VERSIONS[-1], strict=True)


def test_the_pod_that_puts_weights_is_valid_and_mounts_the_claim() -> None:
    pod = yaml.safe_load(heredoc("kubectl --namespace vision apply --filename -"))
    claim = one(render("gpu"), "PersistentVolumeClaim")["metadata"]["name"]

    kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": claim}


def test_the_exec_probes_are_valid_and_ask_their_own_question() -> None:
    match = re.search(r"^```yaml\n(startupProbe:.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert match
    probes = yaml.safe_load(match[1])
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "server", **probes}]},
    }  # fmt: skip

    kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)
    for name, question in (("startupProbe", "startup"), ("livenessProbe", "live")):
        command = probes[name]["exec"]["command"]
        assert command == ["python3", "-m", "app", "probe", question]
        assert question in probe.NAMES
    port = one(render("cpu"), "ConfigMap")["data"]["PORT"]
    assert probes["readinessProbe"]["exec"]["command"] == ["cat", f"/tmp/unbroken-{port}/ready"]
