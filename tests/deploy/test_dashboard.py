"""The dashboard, as Grafana 10 and newer import it."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.deploy import expressions

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
KINDS = {"row", "stat", "timeseries", "state-timeline"}  # all of Grafana's own
# Members that Grafana 10 reads and that its types do not tell of: they belong to the data source,
# to the list of variables, or are the import's.
UNTYPED = {
    "id", "definition", "builtIn", "step", "titleFormat", "textFormat", "tagKeys",
    "useValueForTime", "spanNulls",
}  # fmt: skip


def panels() -> list[dict[str, Any]]:
    """Return all panels, rows too."""
    found: list[dict[str, Any]] = expressions.dashboard()["panels"]
    return found


def test_it_keeps_its_address_and_asks_which_prometheus_to_use() -> None:
    dashboard = expressions.dashboard()

    assert dashboard["uid"] == "unbroken"
    assert dashboard["id"] is None  # a number would be another Grafana's
    assert dashboard["schemaVersion"] >= 38
    [datasource] = [v for v in dashboard["templating"]["list"] if v["type"] == "datasource"]
    assert (datasource["name"], datasource["query"]) == ("datasource", "prometheus")


def test_grafanas_own_types_know_every_member() -> None:
    plugins.register_default_plugins()
    dashboard = expressions.dashboard()
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))

    assert {place.rpartition("/")[2] for place in lost(dashboard, read)} <= UNTYPED


def lost(written: Any, read: Any, place: str = "") -> Iterator[str]:
    """Yield the places at which something was written that was not read, or otherwise."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            if key in read:
                yield from lost(value, read[key], f"{place}/{key}")
            else:
                yield f"{place}/{key}"
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for number, (one, other) in enumerate(zip(written, read, strict=True)):
            yield from lost(one, other, f"{place}/{number}")
    elif written != read:
        yield place


def test_everything_asks_the_chosen_prometheus() -> None:
    dashboard = expressions.dashboard()
    asking = [
        *(panel for panel in panels() if panel["type"] != "row"),
        *(target for panel in panels() for target in panel.get("targets", ())),
        *(mark for mark in dashboard["annotations"]["list"] if not mark.get("builtIn")),
        *(v for v in dashboard["templating"]["list"] if v["type"] == "query"),
    ]

    assert len(asking) > 80
    assert all(each["datasource"] == DATASOURCE for each in asking)


def test_every_panel_has_an_expression_a_description_and_a_kind_that_grafana_has() -> None:
    assert {panel["type"] for panel in panels()} == KINDS
    assert len({panel["id"] for panel in panels()}) == len(panels())
    for panel in panels():
        if panel["type"] != "row":
            assert panel["title"], panel
            assert panel["description"], panel
            assert panel["targets"], panel


def test_panels_lie_beside_each_other() -> None:
    places = [panel["gridPos"] for panel in panels()]

    for place in places:
        assert place["x"] + place["w"] <= 24
    for one, other in itertools.combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip
        assert apart, (one, other)


def test_no_expression_makes_up_a_zero() -> None:
    assert not [where for where, each in expressions.of_dashboard() if "vector(" in each]


def test_no_variable_is_left_in_an_expression() -> None:
    assert not [where for where, each in expressions.of_dashboard() if "$" in each]


def test_its_marks_are_rollouts_starts_drains_and_lost_engines() -> None:
    marks = [mark["name"] for mark in expressions.dashboard()["annotations"]["list"]][1:]

    assert [mark.split()[0] for mark in marks] == ["Rollouts:", "Starts", "Drains", "Engines"]
