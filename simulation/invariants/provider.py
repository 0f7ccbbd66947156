"""The provider: paid once for each plan, asked politely, and no batch forgotten."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

import attrs
import msgspec

from simulation.invariants.base import Invariant
from simulation.mirror import FINAL
from simulation.store import Commit, Row

if TYPE_CHECKING:
    from simulation.network import Message

LONGEST_WAIT = timedelta(hours=2, minutes=15)  # for the next look, clocks that jump aside


@attrs.define(eq=False)
class PaidOnce(Invariant):
    name: ClassVar[str] = "the provider makes one batch for each plan"

    def made(self, nonce: str) -> None:
        made = self.world.account.made[nonce]
        if len(made) > 1:
            self.broken(f"the plan {nonce} was made {len(made)} times: {made}")

    def at_end(self) -> None:
        known = {row["provider_batch_id"] for row in self.mirror.batches.values()}
        nonces = {row["nonce"]: row for row in self.mirror.batches.values()}
        for nonce, made in self.world.account.made.items():
            row = nonces.get(nonce)
            if row is not None and row["status"] == "ingested" and not known.intersection(made):
                self.broken(f"{row['public_id']} has its results from elsewhere than {made}")


@attrs.define(eq=False)
class Cancelled(Invariant):
    name: ClassVar[str] = "the provider is told to cancel only what is known to be ours"

    def sending(self, message: Message) -> None:
        if not (message.batch_id and message.request.url.path.endswith("/cancel")):
            return
        row = self.mirror.batches.get(self.mirror.at_provider.get(message.batch_id, -1))
        if row is None or (row["create_response"] is None and not self.mirror.stored_of_batch[row["id"]]):
            self.broken(f"{message.what}, which was found in a listing and has not been recognised")


@attrs.define(eq=False)
class GivenUp(Invariant):
    name: ClassVar[str] = "a batch is given up only when its job is being ended"

    def before_commit(self, commit: Commit) -> None:
        jobs = {change.new["id"]: change.new for change in commit.changes if change.table == "jobs" and change.new}
        for change in commit.changes:
            if change.table == "provider_batches" and change.new is not None and change.new["status"] == "closed":
                self._check(change.new, jobs.get(change.new["job_id"]) or self.mirror.jobs[change.new["job_id"]])

    def _check(self, row: Row, job: Row) -> None:
        # No run lasts for the lookback.
        if job["stopping"] is None and job["status"] not in ("cancelled", "expired") and not self._was_refused(row):
            self.broken(f"{row['public_id']} was closed as {row['fill']}, {row['error']}: {job['public_id']} goes on")

    def _was_refused(self, row: Row) -> bool:
        """Only a single item is, that was never made: too large, or marked to be refused."""
        return row["item_count"] == 1 and row["nonce"] not in self.world.account.made


@attrs.define(eq=False)
class Polls(Invariant):
    name: ClassVar[str] = "polls in flight never exceed the limiter, and one at a time is about a batch"

    _in_flight: dict[str, dict[int, tuple[str, bool]]] = attrs.field(factory=dict)  # by instance: batch, is a poll

    def sending(self, message: Message) -> None:
        if not message.batch_id:
            return
        row = self.mirror.batches.get(self.mirror.at_provider.get(message.batch_id, -1))
        in_flight = self._in_flight.setdefault(message.life.name, {})
        if any(batch_id == message.batch_id for batch_id, _ in in_flight.values()):
            self.broken(f"{message.life.name} asks {message.what}, and has not yet heard what it asked before")
        in_flight[id(message)] = message.batch_id, row is not None and row["status"] == "submitted"
        polls = sum(is_poll for _, is_poll in in_flight.values())
        if polls > self.world.profile.pace.poll_concurrency:
            self.broken(f"{message.life.name} has {polls} polls in flight")

    def given_up(self, message: Message) -> None:
        self._in_flight.get(message.life.name, {}).pop(id(message), None)


@attrs.define(eq=False)
class Forgotten(Invariant):
    name: ClassVar[str] = "every open batch has a time for its next look, and nothing breaks on the way"

    def after_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            if change.table == "provider_batches" and change.new is not None:
                self._check(change.new)

    def _check(self, row: Row) -> None:
        who = row["public_id"]
        if row["status"] not in FINAL and row["next_poll_at"] is None:
            self.broken(f"{who} is {row['status']} and has no time for its next look")
        if row["error"] is not None and msgspec.json.decode(row["error"]).get("code") == "internal_error":
            self.broken(f"looking at {who} broke")
        if row["status"] not in FINAL and row["next_poll_at"] is not None:
            due = datetime.fromisoformat(row["next_poll_at"])
            latest = self.world.clock.now().replace(tzinfo=None) + LONGEST_WAIT
            if due > latest:
                self.broken(f"{who} is not looked at before {due}")
