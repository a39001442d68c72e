"""What the tests of deploy/ hold manifests against: our settings, their sum, our routes."""

import functools
from collections.abc import Mapping

from app.engine.client import EngineClient
from app.settings import Settings, declarations
from app.web.app import create_app
from tests.server import ROOT

DEPLOY = ROOT / "deploy"
NAMES = {
    name
    for declared in declarations()
    for name in (declared.name.upper(), *declared.metadata["first"])
}


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
