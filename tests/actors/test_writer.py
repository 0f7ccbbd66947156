"""The bulk writer: what it groups, keeps, retries, isolates and drains."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import attrs
import pytest
import trio
from tests.storage.both import NOW

from backburner.actors.writer import CHANNEL_SIZE, Write, Writer, Writes
from backburner.clock import TrioClock
from backburner.commands import BatchIngested, Command, DeliveryAttempted, ResultPage, ResultRow
from backburner.errors import BackburnerError, LeadershipLost, StorageUnavailable, WriteRefused
from backburner.ids import Ids
from backburner.model import Term, Usage
from backburner.reading import narrowed
from backburner.states import DeliveryStatus
from backburner.storage.apply import Applied

FIRST, SECOND = (Term(epoch=epoch, term_id=f"t{epoch}", instance_id="i") for epoch in (1, 2))


@attrs.define
class Notebook:
    """In the place of a database: notes each transaction. `trouble` may raise instead."""

    trouble: Callable[[list[Command]], None] = lambda _: None
    transactions: list[list[Command]] = attrs.field(factory=list)
    times: list[float] = attrs.field(factory=list)

    async def write(self, work: Any, *args: Any, **_: Any) -> Applied:
        await trio.lowlevel.checkpoint()
        commands = list(args[-1])
        self.trouble(commands)
        self.transactions.append(commands)
        self.times.append(trio.current_time())
        return Applied()

    @property
    def written(self) -> list[Command]:
        return [command for commands in self.transactions for command in commands]


@asynccontextmanager
async def writer(
    notebook: Notebook, *, rows: int = 1000, size: int = 1_000_000, window: float = 0.1
) -> AsyncIterator[Writes]:
    """A running writer; everything sent is written on leaving."""
    clock, random = TrioClock(), Random(0)
    send, receive = trio.open_memory_channel[Write](CHANNEL_SIZE)
    async with trio.open_nursery() as nursery:
        made = Writer(
            database=notebook,
            inbox=receive, ids=Ids(clock, random), clock=clock, random=random, rows=rows, size=size, window=window,
            on_applied=lambda _: None,
        )  # fmt: skip
        await nursery.start(made.run)
        writes = Writes(send)
        try:
            yield writes
        finally:
            writes.close()


def ended(key: int, term: Term = FIRST) -> BatchIngested:
    return BatchIngested(term=term, batch_key=key, at=NOW)


def attempt(key: int) -> DeliveryAttempted:
    return DeliveryAttempted(
        key=key, number=1, at=NOW, status_code=200, error=None, duration_ms=1, status=DeliveryStatus.DELIVERED,
        next_attempt_at=None,
    )  # fmt: skip


def page(*texts: str, size: int = 100) -> ResultPage:
    rows = [ResultRow(index, "errored", f'{{"type":"errored","error":"{text}"}}') for index, text in enumerate(texts)]
    whole = ResultPage(
        term=FIRST, batch_key=1, job_key=1, round=1, rows=(), counts=Counter(), usage=Usage(), byte_size=size
    )
    return narrowed(whole, rows)


def sizes(notebook: Notebook) -> list[int]:
    return [len(commands) for commands in notebook.transactions]


async def test_what_comes_within_the_window_shares_a_transaction(autojump_clock):
    notebook = Notebook()
    async with writer(notebook, window=1.0) as writes:
        for key, pause in enumerate([0.5, 0.4, 2.0, 0.0]):
            await writes.send(ended(key))
            await trio.sleep(pause)
    assert (sizes(notebook), notebook.times) == ([3, 1], [1.0, 2.9])


async def test_a_group_holds_no_more_rows_than_allowed(autojump_clock):
    notebook = Notebook()
    async with writer(notebook, rows=5) as writes:
        for texts in ("ab", "cd", "ef", "ghijklm", "n"):
            await writes.send(page(*texts))
    assert [sum(map(len, [command.rows for command in group])) for group in notebook.transactions] == [4, 2, 7, 1]


async def test_a_group_is_closed_when_it_is_large_enough(autojump_clock):
    notebook = Notebook()
    async with writer(notebook, size=1000) as writes:
        for _ in range(5):
            await writes.send(page("a", size=400))
    assert sizes(notebook) == [3, 2]


async def test_a_full_group_does_not_wait_for_the_window(autojump_clock):
    notebook = Notebook()
    async with writer(notebook, rows=2, window=60.0) as writes:
        await writes.send(ended(1))
        await writes.durable(ended(2))
        assert trio.current_time() == 0


async def test_the_order_of_each_sender_is_kept(autojump_clock):
    notebook = Notebook()

    async def sender(writes: Writes, name: int) -> None:
        for number in range(50):
            await writes.send(ended(1000 * name + number, SECOND if number % 7 == 0 else FIRST))

    async with writer(notebook, rows=13) as writes, trio.open_nursery() as nursery:
        for name in range(4):
            nursery.start_soon(sender, writes, name)
    keys = [command.batch_key for command in notebook.written]
    for term in (FIRST, SECOND):
        of_term = [command.batch_key for command in notebook.written if command.term == term]
        for name in range(4):
            mine = [key for key in of_term if key // 1000 == name]
            assert mine == sorted(mine)
    assert sorted(keys) == sorted(1000 * name + number for name in range(4) for number in range(50))


async def test_terms_and_what_any_instance_writes_never_share_a_transaction(autojump_clock):
    notebook = Notebook()
    async with writer(notebook) as writes:
        for command in (ended(1), attempt(1), ended(2, SECOND), ended(3), attempt(2)):
            await writes.send(command)
    kinds = [{getattr(command, "term", None) for command in group} for group in notebook.transactions]
    assert kinds == [{FIRST}, {None}, {SECOND}]


async def test_while_the_database_is_away_senders_wait_and_nothing_is_lost(autojump_clock):
    def away(_: list[Command]) -> None:
        if trio.current_time() < 100:
            raise StorageUnavailable("gone")

    notebook = Notebook(trouble=away)
    sent: list[float] = []
    async with writer(notebook, rows=3) as writes:
        for key in range(40):
            await writes.send(ended(key))
            sent.append(trio.current_time())
    assert [command.batch_key for command in notebook.written] == list(range(40))
    assert sum(at < 100 for at in sent) == CHANNEL_SIZE + 3
    assert all(100 <= at < 106 for at in notebook.times)


async def test_durable_means_committed(autojump_clock):
    def away(_: list[Command]) -> None:
        if trio.current_time() < 10:
            raise StorageUnavailable("gone")

    notebook = Notebook(trouble=away)
    async with writer(notebook) as writes:
        await writes.durable(ended(1))
        assert [command.batch_key for command in notebook.written] == [1]
        assert trio.current_time() >= 10


def refuses(word: str) -> Callable[[list[Command]], None]:
    def trouble(commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, ResultPage) and any(word in row.result for row in command.rows):
                raise WriteRefused(word)
            if isinstance(command, BatchIngested) and command.batch_key == 666:
                raise WriteRefused(word)

    return trouble


async def test_a_poisoned_row_is_replaced_and_the_others_are_stored(autojump_clock):
    notebook = Notebook(trouble=refuses("poison"))
    async with writer(notebook) as writes:
        await writes.send(page("a", "b", "poison", "d", "e"))
        await writes.durable(page("f", "g"))
        await writes.durable(ended(1))
    rows = [row for command in notebook.written if isinstance(command, ResultPage) for row in command.rows]
    assert sorted(row.index for row in rows) == [0, 0, 1, 1, 2, 3, 4]
    assert ["result_unreadable" in row.result for row in rows if row.index == 2] == [True]
    counted: Counter[str] = Counter()
    for command in notebook.written:
        if isinstance(command, ResultPage):
            counted.update(command.counts)
    assert counted == {"errored": 7}
    assert isinstance(notebook.written[-1], BatchIngested)


async def test_a_command_that_is_refused_fails_alone(autojump_clock):
    notebook = Notebook(trouble=refuses("poison"))
    outcomes: dict[int, BackburnerError | None] = {}

    async def ask(writes: Writes, key: int) -> None:
        try:
            await writes.durable(ended(key))
            outcomes[key] = None
        except BackburnerError as error:
            outcomes[key] = error

    async with writer(notebook) as writes, trio.open_nursery() as nursery:
        for key in (1, 2, 666, 3, 4):
            nursery.start_soon(ask, writes, key)
    assert [type(outcomes[key]) for key in (1, 2, 666, 3, 4)] == [type(None), type(None), WriteRefused] + [
        type(None)
    ] * 2


async def test_writes_of_a_past_term_are_dropped_and_those_of_the_next_stored(autojump_clock):
    def over(commands: list[Command]) -> None:
        if any(getattr(command, "term", None) == FIRST for command in commands):
            raise LeadershipLost("over")

    notebook = Notebook(trouble=over)
    async with writer(notebook) as writes:
        await writes.send(ended(1))
        with pytest.raises(LeadershipLost):
            await writes.durable(ended(2))
        await writes.durable(ended(3, SECOND))
        await writes.durable(attempt(4))
    assert len(notebook.written) == 2


async def test_what_was_sent_before_the_close_is_written(autojump_clock):
    notebook = Notebook()
    async with writer(notebook, rows=2, window=3600.0) as writes:
        for key in range(7):
            await writes.send(ended(key))
    assert [command.batch_key for command in notebook.written] == list(range(7))
    assert trio.current_time() == 0


async def test_a_bug_in_the_writer_leaves_nobody_waiting(autojump_clock):
    def bug(_: list[Command]) -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with writer(Notebook(trouble=bug), window=0.0) as writes:
            await writes.durable(ended(1))


async def test_many_small_commands_are_grouped_in_linear_time(autojump_clock):
    notebook = Notebook()
    async with writer(notebook, rows=4000) as writes:
        for key in range(4000):
            await writes.send(ended(key))
    assert sizes(notebook) == [4000]
