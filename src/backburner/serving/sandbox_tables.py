"""The sandbox's store in the tables of a database that several servers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import attrs
import msgspec
import trio

from backburner.errors import BackburnerError
from backburner.providers.sandbox.batches import Batch
from backburner.providers.sandbox.store import StoreFailed
from backburner.storage import sandbox_store
from backburner.storage.database import Database, Tx

P = ParamSpec("P")
T = TypeVar("T")


@attrs.frozen
class TableStore:
    """Implements the sandbox's `Store`. Its methods are called in Trio's worker threads only."""

    database: Database

    def load(self) -> tuple[list[Batch], int]:
        records, highest = self._run(sandbox_store.load)
        return [msgspec.msgpack.decode(record, type=Batch) for record in records], highest

    def add(self, batch: Batch, pages: Sequence[bytes]) -> None:
        if not self._run(sandbox_store.add, batch.sequence, msgspec.msgpack.encode(batch), pages):
            raise StoreFailed("the sandbox of another server has made batches since this one began its term")

    def replace(self, batch: Batch) -> None:
        self._run(sandbox_store.replace, batch.sequence, msgspec.msgpack.encode(batch))

    def delete(self, sequence: int) -> None:
        self._run(sandbox_store.delete, sequence)

    def page(self, sequence: int, number: int) -> bytes | None:
        return self._run(sandbox_store.page, sequence, number)

    def close(self) -> None:
        """The database is others', too."""

    def _run(self, work: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        async def transaction() -> T:
            return await self.database.write(work, *args, **kwargs)

        try:
            return trio.from_thread.run(transaction)
        except BackburnerError as error:
            raise StoreFailed(str(error)) from error
