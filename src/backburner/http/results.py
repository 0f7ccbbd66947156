"""A batch's results as NDJSON, streamed page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import attrs
from quart import Response

from backburner.http.batches import find_batch
from backburner.http.body import NDJSON
from backburner.http.call import Call
from backburner.http.query import Parameter, one_of
from backburner.model import Job
from backburner.states import OUTCOMES, ItemStatus
from backburner.storage.database import Database
from backburner.storage.items import results_page

PAGE_BYTES = 1024 * 1024  # about: one line more
FIRST_PAGE = 100  # items
LARGEST_PAGE = 1000  # items

RESULTS_QUERY = {"status": Parameter(convert=one_of([*OUTCOMES]), many=True)}


async def get_results(call: Call, job_id: str) -> Response:
    """What there is, in the order of the input; `x-incomplete: true` while the job runs."""
    asked = call.query(RESULTS_QUERY)
    job = await find_batch(call, job_id)
    pages = ResultPages(call.services.database, job, [ItemStatus(status) for status in asked["status"]])
    # A database that is away should answer 503, not an empty download that breaks.
    await pages.prefetch()
    response = Response(pages, 200, content_type=NDJSON)
    if not job.status.is_terminal:
        response.headers["x-incomplete"] = "true"
    return response


@attrs.define(eq=False)
class ResultPages:
    """Gives pages of results; holds one or two. The number of items in a page follows their size."""

    database: Database
    job: Job
    statuses: Sequence[ItemStatus]
    _after: int | None = attrs.field(default=-1, init=False)  # None behind the end
    _limit: int = attrs.field(default=FIRST_PAGE, init=False)
    _ready: bytes = attrs.field(default=b"", init=False)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await self.prefetch()
        if not self._ready:
            raise StopAsyncIteration
        page, self._ready = self._ready, b""
        return page

    async def prefetch(self) -> None:
        """Have the next page that is not empty ready, if there is one."""
        while not self._ready and self._after is not None:
            self._ready, self._after = await self.database.read(
                results_page,
                self.job,
                statuses=self.statuses,
                after=self._after,
                limit=self._limit,
                most_bytes=PAGE_BYTES,
            )
            self._limit = _next_limit(self._limit, len(self._ready))


def _next_limit(limit: int, size: int) -> int:
    affordable = limit * PAGE_BYTES // max(1, size)
    return max(1, min(affordable, 4 * limit, LARGEST_PAGE))
