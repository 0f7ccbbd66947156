"""Taking in a batch of any size: staged page by page, invisible until the last page makes the job appear."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

import attrs

from backburner.clock import Clock
from backburner.ids import Ids
from backburner.model import Job, NewItem, NewJob, PlannedBatch, SharedItem
from backburner.splitting import default_chunk_items, split
from backburner.states import ItemStatus
from backburner.storage import items, staging
from backburner.storage.database import Database

PAGE_ITEMS = 1_000
PAGE_BYTES = 1024 * 1024


@attrs.define(kw_only=True, eq=False)
class Intake:
    """One job being taken in. Memory: a page, and four bytes an item.

    Use it so: `await add(…)` for each item, then `await finish(…)`, or `await drop()` when something was wrong.
    After a crash in between the sweeper removes what was staged.
    """

    database: Database
    clock: Clock
    ids: Ids
    key: int
    duplicates: list[tuple[int, int]] = attrs.field(factory=list, init=False)  # (position, position of the earlier)
    _sizes: array[int] = attrs.field(factory=lambda: array("I"), init=False)
    _page: list[NewItem] = attrs.field(factory=list, init=False)
    _page_bytes: int = attrs.field(default=0, init=False)

    @property
    def count(self) -> int:
        """How many items were added."""
        return len(self._sizes)

    async def add(self, item: NewItem) -> None:
        """Add the next item. Duplicates of its custom id show in `duplicates` once its page is staged."""
        self._page.append(item)
        self._sizes.append(item.size)
        self._page_bytes += item.size
        if len(self._page) >= PAGE_ITEMS or self._page_bytes >= PAGE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Stage what was added."""
        if not self._page:
            return
        page, self._page, self._page_bytes = self._page, [], 0
        first = self.count - len(page)
        self.duplicates += await self.database.write(staging.stage_items, self.key, first, page, now=self.clock.now())

    async def share(self, page: Sequence[SharedItem]) -> None:
        """Stage items whose requests are another job's."""
        await self.database.write(staging.stage_shared_items, self.key, self.count, page, now=self.clock.now())
        self._sizes.extend(item.size for item in page)

    async def finish(self, new: NewJob, *, chunk_items: int | None, chunk_bytes: int) -> Job:
        """Make the job appear, its provider batches planned; it is durable when this returns."""
        planned = await self.plan(chunk_items=chunk_items, chunk_bytes=chunk_bytes)
        return await self.database.write(staging.make_job, self.key, new, planned, now=self.clock.now())

    async def plan(self, *, chunk_items: int | None, chunk_bytes: int, added_bytes: int = 0) -> list[PlannedBatch]:
        """All is added: what `staging.make_job` needs, for who makes the job appear with something beside it.

        `added_bytes`: by how much each request becomes longer before it is sent.
        """
        await self.flush()
        chunk_items = chunk_items or default_chunk_items(self.count)
        # Off the Trio thread: a million items take a fifth of a second.
        return await self.database.offload_read(lambda: list(self._plan(chunk_items, chunk_bytes, added_bytes)))

    def _plan(self, chunk_items: int, chunk_bytes: int, added: int) -> Iterator[PlannedBatch]:
        sizes = [size + added for size in self._sizes] if added else self._sizes
        for chunk in split(sizes, most_items=chunk_items, most_bytes=chunk_bytes):
            yield PlannedBatch(self.ids.new("batch"), self.ids.nonce(), chunk.first, chunk.last, chunk.byte_size)

    async def drop(self) -> None:
        """Nothing comes of it: the sweeper removes what was staged."""
        await self.database.write(staging.drop_key, self.key)


async def open_intake(database: Database, clock: Clock, ids: Ids) -> Intake:
    """Begin to take in a job."""
    key = await database.write(staging.draw_key, now=clock.now())
    return Intake(database=database, clock=clock, ids=ids, key=key)


async def share_items(
    intake: Intake, job: Job, *, statuses: Sequence[ItemStatus], custom_ids: Sequence[str] | None
) -> None:
    """Add the items of a finished job that ended in one of `statuses`, or those named, to a retry of it."""
    after = -1
    while page := await intake.database.read(
        items.retryable, job, statuses=statuses, custom_ids=custom_ids, after=after, limit=PAGE_ITEMS
    ):
        after = page[-1][0]
        await intake.share([shared for _, shared in page])
