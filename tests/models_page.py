"""Compares every model of torchvision that is served, and writes docs/reference/models.md.

    python -m tests.models_page [NAME ...]      compare these, or all; then write the page
    python -m tests.models_page --write         write the page from what has been compared

What was compared is kept in build/models.json, so that a run may be continued. One process for
each model: the large ones need all the memory.
"""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

from app.models import registry
from tests.torchvision_reference import FAMILY_OF, TOLERANCE, compare, words

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "build" / "models.json"
PAGE = ROOT / "docs" / "reference" / "models.md"
HEAD = f"""\
# Models of torchvision

`MODEL=torchvision/NAME` serves each of these. The last two columns: one JPEG of 300 × 200 went
through what the engine runs (decoding, `Runner`, the answer in JSON) and through torchvision's own
preset and model, in float32 on a CPU, both with the same random
weights, chosen so that another image gets another answer. Allowed is a difference
of {TOLERANCE:g}: of a classifier's probabilities, of a detector's scores and of its boxes and
keypoints in pixels (masks must be the same to the pixel), of a segmenter's probabilities at every
pixel. With random weights nothing is recognised; what is shown is that the same is computed.

Written by `make models`.

"""


def page(results: dict[str, dict[str, object]]) -> str:
    """Return the page.

    Args:
        results: of the models that were compared, by name; of one whose comparison crashed the
            last line of what it said, as ``crashed``.
    """
    rows = [
        "| model | family | the image | compared | largest difference |",
        "|---|---|---|---|---|",
    ]
    for name, family in FAMILY_OF.items():
        spec = registry.create(f"torchvision/{name}").input_spec
        outcome = _outcome(results.get(name))
        rows.append(f"| `{name}` | {family} | {words(spec)} | {outcome} |")
    compared = sum("difference" in results.get(name, {}) for name in FAMILY_OF)
    count = f"{len(FAMILY_OF)} models, {compared} of them compared.\n\n"
    return HEAD + count + "\n".join(rows) + "\n"


def _outcome(result: dict[str, object] | None) -> str:
    if result is None:
        return "not run |"
    return (
        f"{result['what']} | {result['difference']:.1e}"
        if "difference" in result
        else "the comparison crashed |"
    )


def main(arguments: list[str]) -> int:
    """Run; return the exit code."""
    if arguments[:1] == ["--one"]:
        comparison = compare(arguments[1])
        print(json.dumps({"what": comparison.what, "difference": comparison.difference}))
        return 0
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    failed = []
    for name in [] if arguments == ["--write"] else arguments or FAMILY_OF:
        began = time.monotonic()
        command = [sys.executable, "-W", "ignore", "-m", "tests.models_page", "--one", name]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        if done.returncode:
            print(name, done.stderr[-800:], file=sys.stderr)
            # What was found before says nothing of today's code.
            results[name] = {"crashed": done.stderr.strip().rpartition("\n")[2]}
        else:
            results[name] = json.loads(done.stdout.splitlines()[-1])
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1))
        print(name, results[name], f"{time.monotonic() - began:.0f} s", flush=True)
        if not results[name].get("difference", math.inf) <= TOLERANCE:  # nan neither
            failed.append(name)
    PAGE.write_text(page(results))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
