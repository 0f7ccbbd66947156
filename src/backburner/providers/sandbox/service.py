"""The service as it is when nothing goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Protocol, TypeVar

import trio

from backburner.clock import Clock
from backburner.providers.sandbox import intake
from backburner.providers.sandbox.batches import Batch, microseconds
from backburner.providers.sandbox.items import PAGE_ITEMS, Draws, token
from backburner.providers.sandbox.lines import Renderer, chunks
from backburner.providers.sandbox.listing import Register
from backburner.providers.sandbox.options import SandboxOptions
from backburner.providers.sandbox.routes import Caller
from backburner.providers.sandbox.store import Store
from backburner.providers.sandbox.wire import invalid, not_found

_SECOND = 1_000_000
T = TypeVar("T")


class Offload(Protocol):
    """Runs work that takes long."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


async def inline(work: Callable[[], T], /) -> T:
    """Here and now: under a virtual clock no thread may be waited for."""
    await trio.lowlevel.checkpoint()
    return work()


async def in_thread(work: Callable[[], T], /) -> T:
    return await trio.to_thread.run_sync(work)


class Service:
    """Batches and their results. Methods raise ApiError for what the service refuses."""

    def __init__(self, clock: Clock, options: SandboxOptions, store: Store) -> None:
        self._clock = clock
        self._options = options
        self._store = store
        self._draws = Draws(options.seed)
        self._renderer = Renderer(options.reply_bytes)
        self.register = Register()
        self._sequence = 0
        self.load()

    def load(self) -> None:
        """Know what the store has: other sandboxes may have written into it."""
        batches, highest = self._store.load()
        register = Register()
        for batch in batches:
            register.put(batch)
        self.register, self._sequence = register, max(self._sequence, highest)

    def now(self) -> int:
        return microseconds(self._clock.now())

    @property
    def next_sequence(self) -> int:
        return self._sequence + 1

    def find(self, batch_id: str, workspace: str) -> Batch:
        batch = self.register.get(batch_id)
        if batch is None or batch.workspace != workspace:
            raise not_found(f"No message batch with the ID {batch_id}.")
        return batch

    async def create(self, body: bytes | bytearray, caller: Caller, offload: Offload) -> Batch:
        """Make a batch. It is stored before this returns."""
        draft = await offload(partial(intake.read, body, self._options, caller))
        self._sequence += 1
        batch = self._new(draft, self._sequence, caller.workspace)
        await offload(partial(self._store.add, batch, draft.pages))
        self.register.put(batch)
        return batch

    async def cancel(self, batch_id: str, workspace: str, offload: Offload) -> Batch:
        batch = self.find(batch_id, workspace)
        still = int(self._options.cancel_seconds * _SECOND / self._options.speed)
        canceled = batch.canceled(self.now(), still)
        if canceled is not batch:
            self.register.put(canceled)
            await offload(partial(self._store.replace, canceled))
        return canceled

    async def delete(self, batch_id: str, workspace: str, offload: Offload) -> None:
        batch = self.find(batch_id, workspace)
        if self.now() < batch.ended_at:
            raise invalid(f"Message batch {batch_id} has not ended; cancel it first.")
        self.register.remove(batch)
        await offload(partial(self._store.delete, batch.sequence))

    def results(self, batch: Batch) -> Iterator[bytes]:
        """The lines in chunks, in an order that is not that of the requests but always the same."""
        now = self.now()
        if now < batch.ended_at:
            raise not_found(f"Message batch {batch.id} has not ended; it has no results yet.")
        if not batch.readable(now):
            raise not_found(f"The results of message batch {batch.id} are no longer available.")
        return chunks(self._pages(batch), self._renderer, batch.slots, batch.unfinished.name.lower())

    async def read_results(self, batch: Batch, offload: Offload) -> Iterator[bytes]:
        """The same, with all that is kept of the batch read beforehand: its store may be slow."""
        self.results(batch)
        pages = await offload(lambda: list(self._pages(batch)))
        return chunks(pages, self._renderer, batch.slots, batch.unfinished.name.lower())

    def close(self) -> None:
        self._store.close()

    def _pages(self, batch: Batch) -> Iterator[bytes]:
        numbers = list(range((batch.total + PAGE_ITEMS - 1) // PAGE_ITEMS))
        self._random(batch.id).shuffle(numbers)
        for number in numbers:
            page = self._store.page(batch.sequence, number)
            if page is None:  # deleted meanwhile
                return
            yield page

    def _new(self, draft: intake.Draft, sequence: int, workspace: str) -> Batch:
        now = self.now()
        seconds = self._random(f"batch {sequence}").uniform(*self._options.batch_seconds) / self._options.speed
        return Batch(
            sequence=sequence,
            id=f"msgbatch_01{token(self._draws.draw(f'batch {sequence} {now}'))}",
            total=draft.total,
            created_at=now,
            done_at=now + int(seconds * _SECOND),
            tally=draft.tally,
            workspace=workspace,
        )

    def _random(self, name: str) -> Random:
        return Random(f"{self._options.seed} {name}")  # noqa: S311 (repeatable on purpose)
