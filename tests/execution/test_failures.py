"""What is recorded of errors."""

from __future__ import annotations

import asyncio  # noqa: TID251  # what it raises
import concurrent.futures
import sys

import msgspec
import pytest
import trio

from backburner.errors import GiveUp, TryAgainLater
from backburner.execution.failures import Raised, Returned, nothing, outcome_of, outcome_of_async


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


def test_an_error_does_not_tell_where_on_the_server_its_code_is():
    places = raised(ValueError("x")).details["traceback"]
    assert places[0].startswith("backburner/execution/failures.py:")
    assert places[1].startswith("tests/execution/test_failures.py:")


def test_a_group_is_recorded_part_by_part():
    inner = ExceptionGroup("inner", [KeyError("k"), OSError("disk")])
    found = raised(ExceptionGroup("outer", [ValueError("v"), inner]))
    assert found.message == "3 errors: ValueError: v; KeyError: 'k'; OSError: disk"
    assert [part["type"] for part in found.details["errors"]] == ["ValueError", "ExceptionGroup"]
    assert found.details["errors"][1]["errors"][1]["type"] == "OSError"


def test_a_group_of_one_stays_a_group():
    found = raised(ExceptionGroup("", [ValueError("v")]))
    assert found.details["type"] == "ExceptionGroup"


class Panic(BaseException):
    """As native code raises it."""


class NoText(Exception):
    def __str__(self) -> str:
        raise Panic("no text either")

    __repr__ = __str__


FATAL = [Panic, asyncio.CancelledError, concurrent.futures.CancelledError, GeneratorExit, SystemExit]


@pytest.mark.parametrize("kind", FATAL)
async def test_whatever_a_function_raises_is_its_own_failure(kind):
    assert raised(kind("out")).message == f"{kind.__name__}: out"

    async def work():
        await trio.lowlevel.checkpoint()
        raise kind("out")

    assert (await outcome_of_async(work, {})).message == f"{kind.__name__}: out"


def test_of_a_group_all_that_is_the_functions_is_recorded():
    found = raised(BaseExceptionGroup("both", [Panic("p"), ValueError("v")]))
    assert found.message == "2 errors: Panic: p; ValueError: v"


async def test_ctrl_c_passes_in_the_main_thread_and_is_anybodys_elsewhere():
    for error in (KeyboardInterrupt(), BaseExceptionGroup("both", [ValueError(), KeyboardInterrupt()])):
        with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
            outcome_of(fail, {"error": error})
        with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
            await outcome_of_async(afail, {"error": error})
        assert isinstance(outcome_of(fail, {"error": error}, is_ours=nothing), Raised)
        assert isinstance(await trio.to_thread.run_sync(outcome_of, fail, {"error": error}), Raised)


async def afail(error):
    await trio.lowlevel.checkpoint()
    raise error


async def test_our_cancellation_passes(autojump_clock):
    with trio.move_on_after(1) as scope:
        await outcome_of_async(trio.sleep_forever, {})
        pytest.fail("it ended")
    assert scope.cancelled_caught


async def test_what_is_raised_beside_our_cancellation_is_recorded_without_it(autojump_clock):
    async def work():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cleans_up_badly)
            await trio.sleep_forever()

    async def cleans_up_badly():
        try:
            await trio.sleep_forever()
        finally:
            raise Panic("while it cleaned up")

    with trio.move_on_after(1) as scope:
        found = await outcome_of_async(work, {})
        assert found.message == "1 errors: Panic: while it cleaned up"
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_a_cancellation_that_nobody_asked_for_is_a_failure_of_the_function():
    kept = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            kept.append(cancelled)
            raise
    found: object = None
    try:
        found = await outcome_of_async(afail, {"error": kept[0]})
    finally:  # a cancellation that got out would end this test as if all were well
        assert isinstance(found, Raised)


def test_an_error_without_text_keeps_its_type_and_place():
    found = raised(NoText())
    assert (found.code, found.message) == ("handler_error", "NoText: (its text raised Panic)")
    assert "in fail" in found.details["traceback"][-1]
    assert raised(ExceptionGroup("g", [NoText()])).message == "1 errors: NoText: (its text raised Panic)"
    found = raised(GiveUp("x", details=[{"a": NoText()}]))
    assert (found.code, found.may_retry) == ("gave_up", False)


def test_an_error_that_cannot_be_looked_at_is_recorded_all_the_same():
    class Odd(TryAgainLater):
        seconds = property(lambda _: fail(Panic()), lambda _, value: None)

    found = raised(Odd("x", seconds=1.0))
    assert (found.code, found.retry_after) == ("handler_error", None)
    assert found.message == "Odd, of which nothing can be told: that raised Panic"


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
