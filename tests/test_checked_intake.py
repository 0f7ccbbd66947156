"""Requests on their way in: what checking them costs others."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from backburner.batch_report import MOST_ROWS, Report
from backburner.checked_intake import CheckedIntake
from backburner.errors import Invalid
from backburner.http import items


class Limits:
    max_items_per_job = 1_000_000
    max_item_bytes = 32 * 1024 * 1024


def intake(**how: Any) -> CheckedIntake:
    nothing: Any = None  # bad requests need neither a database nor ids
    return CheckedIntake(database=nothing, clock=nothing, ids=nothing, limits=Limits(), report=Report("line"), **how)


async def turns_during(upload: CheckedIntake, requests: list[bytes]) -> int:
    """How often another task has its turn while requests are taken."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await upload.take(enumerate(requests, 1))
        nursery.cancel_scope.cancel()
    return turns


async def test_others_have_their_turn_while_bad_requests_are_taken():
    assert await turns_during(intake(), [b"1"] * 10_000) >= 40


async def test_others_have_their_turn_while_a_large_request_is_looked_at():
    bad = b'{"custom_id":"a b","params":{"messages":[%b]}}' % (b"[]," * 300_000 + b"1")
    assert await turns_during(intake(), [bad]) >= 14


async def test_faults_that_nobody_is_told_are_not_made(monkeypatch):
    upload = intake()
    made: list[bytes] = []

    def faults(raw: bytes, *_: Any, **__: Any) -> list[items.LineFault]:
        made.append(raw)
        return [items.too_large(1)]

    monkeypatch.setattr(items, "_faults", faults)
    await upload.take(enumerate([b"1"] * (MOST_ROWS + 500), 1))
    assert len(made) == MOST_ROWS
    with pytest.raises(Invalid, match="1,500 requests are not valid") as caught:
        await upload.finish()
    assert len(caught.value.details) == MOST_ROWS
    assert len(made) == MOST_ROWS


async def test_one_request_tells_a_bounded_number_of_faults():
    upload = intake()
    names = b",".join(b'"n%d":1' % number for number in range(5000))
    await upload.take([(1, b"{" + names + b"}"), (2, b"{" + names + b',"x":"' + b"y" * 100_000 + b'"}')])
    with pytest.raises(Invalid) as caught:
        await upload.finish()
    assert len(caught.value.details) == 2 * items.MOST_FAULTS
