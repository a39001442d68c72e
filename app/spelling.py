"""Finds variables that look like misspelt settings: those would be ignored without a word."""

import difflib
from collections.abc import Iterator, Mapping

from app.settings import declarations

_ALIKE = 0.85  # difflib's ratio: one letter more, less or swapped, in a name of five or more


def misspelt(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each variable that is nearly a setting, and the setting's name."""
    names = {name for one in declarations() for name in (one.name.upper(), *one.metadata["first"])}
    short = {other: name for name in names for other in _without_unit(name)}
    for given in sorted(environ.keys() - names):
        if given.rstrip("0123456789") in names:  # PORT0, as Mesos sets it
            continue
        if meant := short.get(given.upper()):
            yield given, meant
            continue
        for meant in difflib.get_close_matches(given.upper(), names, 1, _ALIKE):
            yield given, meant


def _without_unit(name: str) -> Iterator[str]:
    stem, _, unit = name.rpartition("_")
    if unit in ("SECONDS", "MB") and "_" in stem:  # LOAD alone is nobody's slip
        yield stem
    if unit == "SECONDS":
        yield f"{stem}_TIMEOUT"  # as gunicorn calls its own
