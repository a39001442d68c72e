"""The closed table of errors."""

from pathlib import Path

import pytest

from app import errors, reference

DOCS = Path(__file__).parent.parent.parent / "docs" / "reference"


def _leaves(base: type[errors.ServingError]) -> set[type[errors.ServingError]]:
    below = base.__subclasses__()
    return set().union(*map(_leaves, below)) if below else {base}


def test_the_table_lists_every_error_once() -> None:
    assert set(errors.ALL) == _leaves(errors.ServingError)
    assert len(errors.BY_CODE) == len(errors.ALL)


@pytest.mark.parametrize("error", errors.ALL)
def test_the_side_at_fault_decides_the_status(error: type[errors.ServingError]) -> None:
    assert error.meaning.endswith(".")
    assert issubclass(error, errors.ClientError) == (400 <= error.status < 500)
    assert (error.retry_after is not None) == (error.status == 503)


def test_a_code_on_the_wire_becomes_its_error_again() -> None:
    error = errors.from_code("out_of_memory", "full")
    assert (type(error), error.message) == (errors.OutOfMemory, "full")
    details = {"code": 1, "parameter": "x"}
    assert errors.from_code("invalid_parameter", "no", details).details == details
    assert isinstance(errors.from_code("from the future", "?"), errors.Internal)


def test_the_reference_page_is_what_the_classes_say() -> None:
    assert (DOCS / "errors.md").read_text() == reference.errors_markdown()
