"""The database as one instance sees it: slow, away, or forgetful of what it has answered."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Concatenate, ParamSpec, TypeVar

import attrs
import sqlalchemy as sa
import trio

from backburner.changes import Changes
from backburner.errors import StorageUnavailable
from backburner.model import Term
from backburner.storage.database import Database, Offload, RunAgain, translated
from backburner.storage.notifications import CHANGED
from simulation.chaos import Chaos
from simulation.lives import Life
from simulation.store import Store
from simulation.trace import Trace

P = ParamSpec("P")
T = TypeVar("T")

MOST_INSTRUCTIONS = 400  # of SQLite's machine, after which a transaction that is to be torn is torn at the latest


@attrs.frozen(kw_only=True)
class SimulatedDatabase(Database):
    """Says of each transaction what it is called, and which term it claims to be of."""

    store: Store

    @property
    def is_sqlite(self) -> bool:
        """No: several instances share it, as they share PostgreSQL."""
        return False

    async def read(self, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        def transaction() -> T:
            with translated():
                return self.store.reading(work, *args, **kwargs)

        if self.gate is None:
            return await self.offload_read(transaction)
        async with self.gate:
            return await self.offload_read(transaction)

    async def _write_once(
        self, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        changed: list[str] = []

        def transaction() -> T:
            with translated(), self.store.writing() as tx:
                tx.info[CHANGED] = changed
                self.store.tag.verb, self.store.tag.term = _described(work, args)
                return work(tx, *args, **kwargs)

        if self.gate is None:
            outcome = await self.offload_write(transaction)
        else:
            async with self.gate:
                outcome = await self.offload_write(transaction)
        self.changes.changed(changed)
        return outcome


def _described(work: Callable[..., object], args: tuple[Any, ...]) -> tuple[str, Term | None]:
    term = next((arg for arg in args if isinstance(arg, Term)), None)
    inner = next((arg for arg in args if callable(arg) and hasattr(arg, "__name__")), work)
    return getattr(inner, "__name__", "?"), term


@attrs.define(kw_only=True, eq=False)
class Transactions:
    """Runs the transactions of one instance, in place."""

    life: Life
    store: Store
    chaos: Chaos
    trace: Trace
    freeze: Callable[[Life], None]

    def offload(self, kind: str) -> Offload:
        async def run(work: Callable[[], T], /) -> T:
            await trio.lowlevel.checkpoint()
            await self.life.goes_on()
            await self._before()
            return await (self._write(work) if kind == "write" else self._read(work))

        return run

    async def _before(self) -> None:
        if self.chaos.strikes("slow"):
            await trio.sleep(self.chaos.delay())
            await self.life.goes_on()
        away = trio.current_time() < self.chaos.away_until
        if away or self.chaos.strikes("away"):
            await trio.lowlevel.checkpoint()
            raise StorageUnavailable("the simulated database is away")

    async def _read(self, work: Callable[[], T]) -> T:
        return work()

    async def _write(self, work: Callable[[], T]) -> T:
        if self.chaos.strikes("die_before"):
            await self._die("before a transaction")
        if self.chaos.strikes("freeze"):
            self.freeze(self.life)
            await self.life.goes_on()
        if self.chaos.strikes("again"):
            raise RunAgain("simulated serialization failure")
        outcome = await self._transaction(work)
        self.store.committed(self.life)
        if self.chaos.strikes("die_after"):
            await self._die(f"after committing {self.store.tag.verb}")
        if self.chaos.strikes("unknown"):
            self.trace.event(f"{self.life.name} is not told that {self.store.tag.verb} was committed")
            raise StorageUnavailable("the simulated connection broke after the commit")
        return outcome

    async def _transaction(self, work: Callable[[], T]) -> T:
        torn, dies = self.chaos.strikes("torn"), self.chaos.strikes("die_within")
        if not torn and not dies:
            return work()
        try:
            with self.store.torn(self.chaos.random.randint(1, MOST_INSTRUCTIONS)):
                return work()
        except StorageUnavailable:
            if dies:
                await self._die("within a transaction")
            raise

    async def _die(self, when: str) -> None:
        self.trace.event(f"{self.life.name} dies {when}")
        self.life.kill()
        await self.life.goes_on()


def database_of(
    life: Life,
    store: Store,
    chaos: Chaos,
    trace: Trace,
    random: Random,
    *,
    gate: trio.Lock | None,
    freeze: Callable[[Life], None],
) -> Database:
    """The shared database, as this instance reaches it."""
    transactions = Transactions(life=life, store=store, chaos=chaos, trace=trace, freeze=freeze)
    return SimulatedDatabase(
        url=store.database.url,
        writing=store.database.writing,
        reading=store.database.reading,
        offload_write=transactions.offload("write"),
        offload_read=transactions.offload("read"),
        gate=gate,
        random=random,
        changes=Changes(),
        store=store,
    )
