"""What is recorded of errors."""

from __future__ import annotations

import sys

import msgspec

from backburner.errors import GiveUp, TryAgainLater
from backburner.execution.failures import Raised, Returned, outcome_of, outcome_of_async


def fail(error):
    raise error


def raised(error) -> Raised:
    found = outcome_of(fail, {"error": error})
    assert isinstance(found, Raised)
    msgspec.json.encode(found.details)
    return found


def test_a_value_comes_back():
    assert Returned(5) == outcome_of(lambda a, b: a + b, {"a": 2, "b": 3})


def test_an_error_says_its_type_and_place():
    found = raised(ValueError("no such city"))
    assert (found.code, found.message) == ("handler_error", "ValueError: no such city")
    assert "in fail" in found.details["traceback"][-1]


def test_a_group_is_recorded_part_by_part():
    inner = ExceptionGroup("inner", [KeyError("k"), OSError("disk")])
    found = raised(ExceptionGroup("outer", [ValueError("v"), inner]))
    assert found.message == "3 errors: ValueError: v; KeyError: 'k'; OSError: disk"
    assert [part["type"] for part in found.details["errors"]] == ["ValueError", "ExceptionGroup"]
    assert found.details["errors"][1]["errors"][1]["type"] == "OSError"


def test_a_group_of_one_stays_a_group():
    found = raised(ExceptionGroup("", [ValueError("v")]))
    assert found.details["type"] == "ExceptionGroup"


def test_sys_exit_is_a_failure_of_the_function_not_of_the_server():
    assert outcome_of(lambda: sys.exit(3), {}).message == "SystemExit: 3"


def test_a_function_says_whether_another_attempt_makes_sense():
    assert not raised(GiveUp("no", code="not_here")).may_retry
    assert raised(GiveUp("no", code="not_here")).code == "not_here"
    assert raised(TryAgainLater("busy", seconds=9.0)).retry_after == 9.0


def test_memory_has_its_own_code():
    assert raised(MemoryError()).code == "memory_exceeded"


async def test_a_coroutine_function_fails_alike():
    async def work():
        raise ExceptionGroup("both", [ValueError("a"), TypeError("b")])

    assert (await outcome_of_async(work, {})).message == "2 errors: ValueError: a; TypeError: b"
