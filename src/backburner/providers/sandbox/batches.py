"""One batch of the sandbox: what is kept of it, and what it looks like at a moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from backburner.providers.sandbox.items import SLOTS, Outcome

DAY = 24 * 60 * 60 * 1_000_000
ARCHIVED_AFTER = 29 * DAY
#: Where a request leads that names no workspace.
DEFAULT_WORKSPACE = "wrkspc_01SandboxSandboxSandbox1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def rfc3339(at: int | None) -> str | None:
    """A time in microseconds since 1970, as the service writes it."""
    if at is None:
        return None
    return (_EPOCH + timedelta(microseconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Batch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A batch as it is stored. Everything else follows from it and the time. Times are microseconds since 1970."""

    sequence: int  # counts the batches of this sandbox, from 1
    id: str
    total: int
    created_at: int
    done_at: int  # when the last item would finish if nothing came between
    tally: tuple[int, ...]  # for each outcome, how many items end so in each slot
    cancel_at: int | None = None
    cancel_done_at: int | None = None
    workspace: str = DEFAULT_WORKSPACE

    @property
    def expires_at(self) -> int:
        return self.created_at + DAY

    @property
    def ended_at(self) -> int:
        """When the batch ends or ended, unless somebody cancels it before."""
        end = min(self.done_at, self.expires_at)
        return end if self.cancel_done_at is None else min(end, self.cancel_done_at)

    @property
    def slots(self) -> int:
        """In how many of the slots items have finished when the batch ends."""
        if self.ended_at >= self.done_at:
            return SLOTS
        return SLOTS * (self.ended_at - self.created_at) // (self.done_at - self.created_at)

    @property
    def unfinished(self) -> Outcome:
        """What becomes of the items that have not finished at the end."""
        return Outcome.EXPIRED if self.cancel_at is None else Outcome.CANCELED

    def final_counts(self) -> list[int]:
        """For each outcome, how many items ended so."""
        slots = self.slots
        counts = [sum(self.tally[outcome * SLOTS : outcome * SLOTS + slots]) for outcome in Outcome]
        counts[self.unfinished] += self.total - sum(counts)
        return counts

    def status(self, now: int) -> str:
        if now >= self.ended_at:
            return "ended"
        return "in_progress" if self.cancel_at is None else "canceling"

    def readable(self, now: int) -> bool:
        """Whether there are results to read: after the end, and for 29 days from the beginning."""
        return self.ended_at <= now < self.created_at + ARCHIVED_AFTER

    def canceled(self, now: int, still: int) -> Batch:
        """The batch after a cancel; the same one if that comes too late or again."""
        if self.cancel_at is not None or now >= self.ended_at:
            return self
        return msgspec.structs.replace(self, cancel_at=now, cancel_done_at=now + still)

    def view(self, now: int, url: str) -> dict[str, Any]:
        """The `message_batch` object. `url` is where its results are read."""
        ended = now >= self.ended_at
        counts = self.final_counts() if ended else [0] * len(Outcome)
        archived_at = self.created_at + ARCHIVED_AFTER
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": self.status(now),
            "request_counts": request_counts(0 if ended else self.total, counts),
            "created_at": rfc3339(self.created_at),
            "expires_at": rfc3339(self.expires_at),
            "ended_at": rfc3339(self.ended_at) if ended else None,
            "cancel_initiated_at": rfc3339(self.cancel_at),
            "archived_at": rfc3339(archived_at) if now >= archived_at else None,
            "results_url": url if self.readable(now) else None,
        }


def request_counts(processing: int, finished: Sequence[int]) -> dict[str, int]:
    return {"processing": processing, **{outcome.name.lower(): finished[outcome] for outcome in Outcome}}
