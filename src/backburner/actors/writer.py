"""The bulk writer: what arrives in quantity becomes few, large transactions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

import attrs
import structlog
import trio

from backburner.backoff import Backoff
from backburner.clock import Clock
from backburner.commands import (
    Command,
    FreeCommand,
    LeaderCommand,
    ResultPage,
    ResultRow,
    bytes_in,
    rows_in,
    term_of,
)
from backburner.errors import BackburnerError, LeadershipLost, NotFound, StorageUnavailable, WriteRefused
from backburner.ids import Ids
from backburner.model import Term
from backburner.reading import narrowed
from backburner.result_lines import UNREADABLE, own_result
from backburner.states import ItemStatus
from backburner.storage.apply import Applied, apply_free_commands, apply_leader_commands
from backburner.storage.database import Database

log = structlog.get_logger()

CHANNEL_SIZE = 16  # writes that may wait; pages are ≤ 1 MB, so ≤ 16 MB
RETRIES = Backoff(first=0.1, cap=5.0, low=0.5)  # until a group is tried again while the database is away
STALLED = 5.0  # seconds without a commit after which a full queue is no longer mere back-pressure


@attrs.define(eq=False)
class Write:
    """A command on its way, and who waits for it."""

    command: Command
    settled: trio.Event | None = None
    error: BackburnerError | None = None

    def settle(self, error: BackburnerError | None = None) -> None:
        self.error = error
        if self.settled is not None:
            self.settled.set()


@attrs.frozen
class Writes:
    """The way to the writer. Whoever holds one closes it; when all are closed, the writer drains and stops."""

    channel: trio.MemorySendChannel[Write]

    async def send(self, command: Command) -> None:
        """Hand over a command; waits while the writer is behind. Commands of one sender keep their order."""
        await self.channel.send(Write(command))

    async def durable(self, command: Command) -> None:
        """Hand over a command and return when it is committed. Raises LeadershipLost or WriteRefused."""
        write = Write(command, trio.Event())
        await self.channel.send(write)
        assert write.settled is not None  # noqa: S101  # set two lines above
        await write.settled.wait()
        if write.error is not None:
            raise write.error

    def close(self) -> None:
        self.channel.close()


@attrs.define(kw_only=True, eq=False)
class Writer:
    """Turns a stream of commands into transactions of at most `rows` rows and about `size` bytes.

    A command waits at most `window` seconds for company. While the database is away a group is kept and tried again;
    senders wait meanwhile. Stops when every sender has closed its end and what they sent is stored.
    """

    database: Database
    inbox: trio.MemoryReceiveChannel[Write]
    ids: Ids
    clock: Clock
    random: Random
    rows: int
    size: int
    window: float
    on_applied: Callable[[Applied], None]
    _held: Write | None = attrs.field(default=None, init=False)  # came too late for the group before
    _database_away: bool = attrs.field(default=False, init=False)
    _answered_at: float = attrs.field(
        default=float("-inf"), init=False
    )  # when the database last took or refused a group

    @property
    def queue(self) -> int:
        """How many commands wait."""
        return self.inbox.statistics().current_buffer_used

    @property
    def is_behind(self) -> bool:
        """Whether it makes no headway: the database is away, or the queue is nearly full and nothing gets stored."""
        stalled = self.clock.monotonic() - self._answered_at > STALLED
        return self._database_away or (stalled and self.queue > 0.8 * CHANNEL_SIZE)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self.inbox:  # if this fails, senders get BrokenResourceError
            task_status.started()
            while group := await self._gather():
                for term, writes in by_term(group):
                    await self._commit(term, writes)

    async def _gather(self) -> list[Write]:
        """The next group; [] when all senders have closed."""
        group = [] if self._held is None else [self._held]
        self._held = None
        with suppress(trio.EndOfChannel):
            if not group:
                group.append(await self.inbox.receive())
            rows, size = rows_in(group[0].command), bytes_in(group[0].command)
            # `receive` is the only checkpoint in the scope, so no command is lost when the window closes.
            with trio.move_on_after(self.window):
                while rows < self.rows and size < self.size:
                    write = await self.inbox.receive()
                    rows, size = rows + rows_in(write.command), size + bytes_in(write.command)
                    if rows > self.rows:
                        self._held = write
                    else:
                        group.append(write)
        return group

    async def _commit(self, term: Term | None, group: Sequence[Write]) -> None:
        """Make a group durable. A write that the database refuses fails alone."""
        try:
            applied = await self._apply_patiently(term, group)
        except LeadershipLost as lost:
            log.warning("writes of a past term dropped", epoch=term and term.epoch, writes=len(group))
            for write in group:
                write.settle(lost)
        except (WriteRefused, NotFound) as refused:
            await self._isolate(term, group, refused)
        else:
            self.on_applied(applied)
            for write in group:
                write.settle()
        finally:
            self._database_away, self._answered_at = False, self.clock.monotonic()

    async def _isolate(self, term: Term | None, group: Sequence[Write], refused: WriteRefused | NotFound) -> None:
        if (parts := halves(group)) is not None:
            for part in parts:
                await self._commit(term, part)
            return
        (write,) = group
        log.error("write refused by the database", error=str(refused), command=type(write.command).__name__)
        if (substitute := unreadable(write.command)) is not None:
            await self._commit(term, [Write(substitute)])
        write.settle(refused)

    async def _apply_patiently(self, term: Term | None, group: Sequence[Write]) -> Applied:
        failures = 0
        while True:
            try:
                applied = await self._apply(term, group)
                return attrs.evolve(applied, uncertain=failures > 0)
            except StorageUnavailable as error:
                self._database_away = True
                failures += 1
                wait = RETRIES.wait(failures, self.random)
                log.warning("write postponed", error=str(error), writes=len(group), retry_seconds=round(wait, 3))
            await trio.sleep(wait)

    async def _apply(self, term: Term | None, group: Sequence[Write]) -> Applied:
        commands = [write.command for write in group]
        if term is None:
            free = [command for command in commands if isinstance(command, FreeCommand)]
            return await self.database.write(apply_free_commands, free, ids=self.ids)
        return await self.database.write(
            apply_leader_commands,
            term,
            [command for command in commands if isinstance(command, LeaderCommand)],
            now=self.clock.now(),
            ids=self.ids,
        )


def by_term(group: Sequence[Write]) -> list[tuple[Term | None, list[Write]]]:
    """The group divided by the term that fences it: fenced and unfenced writes never share a transaction."""
    parts: dict[Term | None, list[Write]] = {}
    for write in group:
        parts.setdefault(term_of(write.command), []).append(write)
    return list(parts.items())


def halves(group: Sequence[Write]) -> tuple[list[Write], list[Write]] | None:
    """The group in two parts, down to single rows of a page of results; None when it cannot be divided."""
    if len(group) > 1:
        middle = len(group) // 2
        return list(group[:middle]), list(group[middle:])
    page = group[0].command
    if not isinstance(page, ResultPage) or len(page.rows) < 2:
        return None
    middle = len(page.rows) // 2
    first = Write(narrowed(page, page.rows[:middle]))
    return [first], [Write(narrowed(page, page.rows[middle:]), group[0].settled)]


def unreadable(command: Command) -> ResultPage | None:
    """What is stored for a result that the database refuses; None for other commands, and for that itself."""
    if not isinstance(command, ResultPage) or len(command.rows) != 1:
        return None
    result = own_result(ItemStatus.ERRORED, UNREADABLE)
    if command.rows[0].result == result:
        return None
    return narrowed(command, [ResultRow(command.rows[0].index, ItemStatus.ERRORED.value, result)])
