"""What the examples need is installed only where their tests are wanted."""

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import the tests of this folder where they would be deselected."""
    return True if "not examples" in config.option.markexpr else None
