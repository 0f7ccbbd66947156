"""The requests of one batch on their way in, wherever they come from: each checked, then staged."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

import attrs
import trio

from backburner.batch_report import Report
from backburner.clock import Clock
from backburner.errors import Invalid, Malformed, TransientError
from backburner.http.items import CheckedItem, Defaults, LineFault, check_in_steps, too_large
from backburner.ids import Ids
from backburner.intake import PAGE_ITEMS, Intake, open_intake
from backburner.model import NewItem
from backburner.steps import Steps, patiently
from backburner.storage.database import Database

#: Requests that are checked before others have their turn; so many bytes count as one more.
_REQUESTS_AT_ONCE, _BYTES_LIKE_A_REQUEST = 200, 512


class ItemLimits(Protocol):
    """How many requests a job may have, and how large each may be."""

    @property
    def max_items_per_job(self) -> int: ...

    @property
    def max_item_bytes(self) -> int: ...


class Check(Protocol):
    """Looks at one request, as `check_in_steps` does."""

    def __call__(
        self, raw: bytes, defaults: Defaults | None, /, *, brief: bool
    ) -> Steps[CheckedItem | list[LineFault]]: ...


@attrs.define(kw_only=True, eq=False)
class CheckedIntake:
    """Memory: the intake's, and four bytes an item. Nothing is staged before the first good request.

    Requests go on being checked after a bad one, so that the report is complete.
    """

    database: Database
    clock: Clock
    ids: Ids
    limits: ItemLimits
    report: Report
    defaults: Defaults | None = None
    check: Check = check_in_steps
    taken: int = attrs.field(default=0, init=False)  #: requests, the bad ones included
    intake: Intake | None = attrs.field(default=None, init=False)
    _work: int = attrs.field(default=0, init=False)  # since others had their turn
    _places: array[int] = attrs.field(factory=lambda: array("I"), init=False)  # of the items staged, in order
    # A page is staged when its last item is added, so its duplicates are among these.
    _lately: deque[str] = attrs.field(factory=lambda: deque(maxlen=PAGE_ITEMS), init=False)

    async def take(self, requests: Iterable[tuple[int, bytes | list[LineFault] | None]]) -> None:
        """The next requests: (place, text); None stands for one that was too large to be read, faults for one that
        could not be made.

        Raises Invalid when there are more than a job may have, and Malformed for what is not JSON inside a JSON body.
        """
        for place, raw in requests:
            await self._give_way(raw)
            item = await self._checked(place, raw)
            if item is None:
                continue
            if self.intake is None:
                self.intake = await open_intake(self.database, self.clock, self.ids)
            self._places.append(place)
            self._lately.append(item.custom_id)
            await self.intake.add(item)
            if self.intake.duplicates:
                self._report_duplicates(self.intake)

    async def _give_way(self, raw: bytes | list[LineFault] | None) -> None:
        # Bad requests are never stored, which would be a pause, and neither are a page of good ones for long.
        self._work += 1 + len(raw or ()) // _BYTES_LIKE_A_REQUEST
        if self._work > _REQUESTS_AT_ONCE:
            self._work = 0
            await trio.lowlevel.checkpoint()

    async def _checked(self, place: int, raw: bytes | list[LineFault] | None) -> NewItem | None:
        limits = self.limits
        self.taken += 1
        if self.taken > limits.max_items_per_job:
            message = f"A job may have at most {limits.max_items_per_job:,} requests."
            raise Invalid(message, code="too_many_items", param="requests")
        most = limits.max_item_bytes
        checked = await self._looked_at(raw)
        if isinstance(checked, CheckedItem):
            if len(checked.params) <= most:
                return NewItem(checked.custom_id, checked.params.decode(), len(checked.params), checked.agent_id)
            checked = [too_large(most)]  # with the defaults
        self._refuse(place, checked)
        return None

    async def _looked_at(self, raw: bytes | list[LineFault] | None) -> CheckedItem | list[LineFault]:
        if raw is None:
            return [too_large(self.limits.max_item_bytes)]
        if isinstance(raw, list):
            return raw
        return await patiently(self.check(raw, self.defaults, brief=self.report.is_full))

    def _refuse(self, place: int, faults: list[LineFault]) -> None:
        if self.report.place == "index":
            for fault in faults:
                if fault.syntax:
                    raise Malformed(f"requests[{place}]: {fault.message}", param=f"requests[{place}]")
        self.report.refuse(place, faults)

    def _report_duplicates(self, intake: Intake) -> None:
        for position, earlier in intake.duplicates:
            custom_id = self._lately[position - intake.count]
            self.report.duplicate(self._places[position], self._places[earlier], custom_id)
        intake.duplicates.clear()

    async def finish(self) -> Intake:
        """Every request was taken: the intake, ready to be made a job. Raises Invalid with the whole report."""
        if not self.taken:
            raise Invalid("A batch needs at least one request.", code="empty_batch", param="requests")
        if self.intake is not None:
            await self.intake.flush()
            self._report_duplicates(self.intake)
        error = self.report.error()
        if error is not None or self.intake is None:
            raise error or AssertionError("neither good nor bad requests")
        return self.intake


#: Seconds that dropping an upload may hold up a request that is being cancelled; the sweeper would do it later.
DROP_SECONDS = 2.0


async def drop(intake: Intake | None) -> None:
    """Nothing comes of it. When the database is away, the sweeper finds the leftovers by their age."""
    if intake is not None:
        with suppress(TransientError):
            await intake.drop()
