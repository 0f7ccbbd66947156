"""A batch's results as NDJSON, streamed page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import attrs
from quart import Response

from backburner.errors import Invalid
from backburner.http.batches import find_batch
from backburner.http.body import NDJSON
from backburner.http.call import Call
from backburner.http.query import Parameter, one_of, words
from backburner.model import Job
from backburner.states import OUTCOMES, ItemStatus
from backburner.storage.database import Database
from backburner.storage.items import position_of, results_page

PAGE_BYTES = 1024 * 1024  # about: one line more
FIRST_PAGE = 100  # items
LARGEST_PAGE = 1000  # items
BEFORE_THE_FIRST = -1  # a position
LONGEST_CUSTOM_ID = 64  # characters

RESULTS_QUERY = {
    "status": Parameter(convert=one_of([*OUTCOMES]), many=True),
    "after": Parameter(convert=words(LONGEST_CUSTOM_ID)),
}


async def get_results(call: Call, job_id: str) -> Response:
    """What there is, in the order of the input; `x-incomplete: true` while the job runs.

    With `?after=` what stands behind that item in the input: how a download goes on that broke off.
    """
    asked = call.query(RESULTS_QUERY)
    job = await find_batch(call, job_id)
    after = await _position(call, job, asked["after"])
    pages = ResultPages(call.services.database, job, [ItemStatus(status) for status in asked["status"]], after)
    # A database that is away should answer 503, not an empty download that breaks.
    await pages.prefetch()
    response = Response(pages, 200, content_type=NDJSON)
    if not job.status.is_terminal:
        response.headers["x-incomplete"] = "true"
    return response


async def _position(call: Call, job: Job, custom_id: str | None) -> int:
    if custom_id is None:
        return BEFORE_THE_FIRST
    found = await call.services.database.read(position_of, job.key, custom_id)
    if found is None:
        raise Invalid(f"The batch has no item with the custom_id {custom_id!r}.", param="after")
    return found


@attrs.define(eq=False)
class ResultPages:
    """Gives pages of results; holds one or two. The number of items in a page follows their size."""

    database: Database
    job: Job
    statuses: Sequence[ItemStatus]
    _after: int | None = BEFORE_THE_FIRST  # the position of the last item that was looked at; None behind the end
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
