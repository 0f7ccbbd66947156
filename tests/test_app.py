"""Registration: which functions are taken, how they are to run, what their type hints say."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest

from backburner import App
from backburner.errors import WrongApp


class Place(msgspec.Struct):
    city: str
    days: Annotated[int, msgspec.Meta(ge=1)] = 1


def where(place: Place, unit: str = "C") -> str:
    """Say where."""
    return f"{place.city} {place.days} {unit}"


async def fetch(ctx, url: str) -> int:
    return len(url)


def generates(n: int):
    yield n


@pytest.mark.parametrize(
    ("function", "options", "chosen"),
    [
        (fetch, {}, "async"),
        (where, {}, "thread"),
        (where, {"cpu": True}, "process"),
        (where, {"executor": "process"}, "process"),
    ],
)
def test_the_executor_follows_from_the_kind_of_function(function, options, chosen):
    app = App()
    assert app.handler("h", **options)(function) is function
    assert chosen == app.handlers["h"].executor


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (fetch, {"cpu": True}),
        (fetch, {"executor": "thread"}),
        (where, {"executor": "async"}),
        (where, {"executor": "fiber"}),
        (generates, {}),
        (lambda *all_: 0, {}),
        (lambda n: 0, {"concurrency": 0}),
    ],
)
def test_what_cannot_run_as_wanted_is_refused_at_registration(function, options):
    with pytest.raises(WrongApp):
        App().handler("h", **options)(function)


TIMES = ("timeout_seconds", "stuck_after_seconds", "backoff_seconds", "backoff_cap_seconds")


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1, 1e12])
def test_times_that_end_at_no_date_are_refused_at_registration(seconds):
    for name in TIMES:
        with pytest.raises(WrongApp, match=name):
            App().handler("h", **{name: seconds})(where)
    with pytest.raises(WrongApp, match="timeout_seconds"):
        App().tool(timeout_seconds=seconds)(where)


@pytest.mark.parametrize("mebibytes", [float("inf"), float("nan"), -1, 0, 1e12])
def test_a_memory_that_no_machine_has_is_refused_at_registration(mebibytes):
    with pytest.raises(WrongApp, match="memory_mb"):
        App().handler("h", memory_mb=mebibytes)(where)


def test_another_attempt_may_come_at_once_but_no_attempt_ends_at_once():
    App().handler("h", backoff_seconds=0, backoff_cap_seconds=0, timeout_seconds=0.1, stuck_after_seconds=366 * 86_400)(
        where
    )
    with pytest.raises(WrongApp):
        App().handler("h", timeout_seconds=0)(where)


def test_a_name_is_given_once():
    app = App()
    app.handler("h")(where)
    with pytest.raises(WrongApp, match="taken"):
        app.handler("h")(where)


def test_a_hint_that_is_not_json_is_refused_at_registration():
    def odd(thing: object) -> int:
        return 0

    with pytest.raises(WrongApp, match="cannot be JSON"):
        App().handler("h")(odd)


def test_input_is_converted_to_the_hinted_types():
    app = App()
    app.handler("h")(where)
    found = app.handlers["h"].signature.arguments({"place": {"city": "Rome"}})
    assert {"place": Place("Rome", 1), "unit": "C"} == found


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"place": {"city": 1}}, r"\$\.place\.city"),
        ({"place": {"city": "Rome", "days": 0}}, r"\$\.place\.days"),
        ({}, "place"),
        ({"place": {"city": "Rome"}, "more": 1}, "more"),
        ([], "object"),
    ],
)
def test_wrong_input_names_the_field(given, place):
    app = App()
    app.handler("h")(where)
    with pytest.raises(msgspec.ValidationError, match=place):
        app.handlers["h"].signature.arguments(given)


def test_the_context_is_no_field_of_the_input():
    app = App()
    app.handler("h")(fetch)
    assert app.handlers["h"].signature.takes_context
    assert app.handlers["h"].signature.arguments({"url": "x"}) == {"url": "x"}


def test_output_has_to_be_of_the_hinted_type():
    app = App()
    app.handler("h")(where)
    signature = app.handlers["h"].signature
    assert signature.output("fine") == "fine"
    with pytest.raises(msgspec.ValidationError):
        signature.output(7)


def test_a_tool_has_the_schema_of_its_hints_and_the_text_of_its_docstring():
    app = App()
    app.tool(idempotent=True)(where)
    tool = app.tools["where"]
    assert tool.description == "Say where."
    assert tool.idempotent
    assert tool.input_schema["type"] == "object"
    assert tool.input_schema["required"] == ["place"]
    assert {"place", "unit"} == set(tool.input_schema["properties"])
    assert tool.input_schema["$defs"]["Place"]["required"] == ["city"]
