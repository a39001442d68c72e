"""What the nursery imports leaves its forks able to use CUDA, and free to fork without a word."""

import json
import subprocess
import sys

import pytest
import torch

from app.models import registry
from tests.server import ROOT

# In a process of its own: this one may have asked for CUDA already. The last fork is the control.
FORKS = """
import json, os, sys
import torch
from app.engine import nursery
from app.models import registry

def fork():
    child = os.fork()
    if child == 0:
        os._exit(torch.cuda._is_in_bad_fork())
    return "poisoned" if os.waitpid(child, 0)[1] else "clean"

found = {}
for name in sys.argv[1:]:
    registry.preload(name)
    found[name] = fork(), len(os.listdir("/proc/self/task"))
torch.cuda.is_available()
print(json.dumps({**found, "control": fork()}))
"""


@pytest.mark.skipif(torch.version.cuda is None, reason="a PyTorch without CUDA")
def test_no_familys_import_keeps_a_fork_from_cuda_or_leaves_a_thread() -> None:
    names = [*registry._MODULES, "package.module:Class"]
    command = [sys.executable, "-c", FORKS, *names]
    asked = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    assert found.pop("control") == "poisoned"
    # From 3.12 on Python warns of a fork that leaves threads behind.
    assert found == {name: ["clean", 1] for name in names}
