"""Background jobs: claimed by one, ended once, tried no more often than is allowed, and buying nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
import msgspec

from simulation.invariants.base import Invariant
from simulation.mirror import ENDS
from simulation.store import Change, Commit, Row

if TYPE_CHECKING:
    from backburner.execution.context import Context
    from simulation.lives import Life


@attrs.define(eq=False)
class Claims(Invariant):
    name: ClassVar[str] = "a background job that has ended never runs again, and old claims change nothing"

    _runs: dict[int, Life] = attrs.field(factory=dict)  # who has run a job last

    def before_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            if change.table == "work" and change.new is not None:
                self._check_claim(change)
            elif change.table == "jobs" and change.new is not None and change.new["handler"] is not None:
                self._check_end(change)

    def _check_claim(self, change: Change) -> None:
        old, new = change.old, change.new
        assert new is not None
        before = 0 if old is None else old["attempt"]
        if new["attempt"] > new["max_attempts"] or new["attempt"] - before > 1:
            self.broken(f"job {new['job_id']} was tried {new['attempt']} times, and before {before}")
        if old is not None and old["token"] is not None and new["token"] not in (None, old["token"]):
            self.broken(f"job {new['job_id']} was claimed while it was claimed")

    def _check_end(self, change: Change) -> None:
        new = change.new
        assert new is not None
        if new["status"] != "completed" or new["result"] is None or (change.old or {}).get("status") in ENDS:
            return
        claim = self.mirror.work.get(new["id"])
        said = msgspec.json.decode(new["result"])["token"]
        if claim is None or claim["token"] != said:
            self.broken(f"{new['public_id']} was completed by {said}, but it is claimed by {claim and claim['token']}")

    def after_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            if change.table in ("jobs", "work"):
                row = change.new or change.old or {}
                self._check_queue(row["id" if change.table == "jobs" else "job_id"])

    def _check_queue(self, key: int) -> None:
        job = self.mirror.jobs.get(key)
        if job is not None and job["handler"] is not None and (job["status"] in ENDS) == (key in self.mirror.work):
            self.broken(f"{job['public_id']} is {job['status']}, and {'' if key in self.mirror.work else 'not '}queued")

    def _was_well(self, life: Life) -> bool:
        """Whether nothing can have kept an instance from renewing its lease."""
        profile = self.world.profile
        rates = profile.rates
        troubled = rates.away or rates.unknown or rates.torn or rates.slow or rates.again or rates.die_within
        if troubled or profile.clock_jumps or profile.database_outages or profile.stops:
            return False
        return not life.is_over and not life.is_frozen and life.thawed_at == float("-inf")

    def handler_begins(self, life: Life, ctx: Context) -> None:
        key = self.mirror.by_public_id[ctx.job_id]
        before = self._runs.get(key)
        self._runs[key] = life
        claimed_at = self.mirror.claimed_at.get(ctx.token)
        if claimed_at is None or life.thawed_at >= claimed_at:  # it was stopped meanwhile, and does not know yet
            return
        if before is not None and self._was_well(before):
            self.broken(f"{ctx.job_id} runs at {life.name}, though {before.name} has it and nothing went wrong there")
        job, claim = self.mirror.jobs.get(key), self.mirror.work.get(key)
        if job is None or job["status"] in ENDS or claim is None or claim["token"] != ctx.token:
            self.broken(f"{ctx.job_id} runs for {ctx.token}, but it is {job and job['status']}, claimed as {claim}")

    def handler_ends(self, life: Life, ctx: Context) -> None:
        key = self.mirror.by_public_id[ctx.job_id]
        if self._runs.get(key) is life:
            del self._runs[key]


@attrs.define(eq=False)
class Orders(Invariant):
    name: ClassVar[str] = "a background job buys each of its batches once"

    _bought: dict[tuple[str, str], str] = attrs.field(factory=dict)  # job, key → the batch's job

    def before_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            if change.table == "jobs" and change.old is None and change.new is not None:
                self._check(change.new)

    def _check(self, new: Row) -> None:
        metadata = msgspec.json.decode(new["metadata"])
        if "parent_job_id" not in metadata:
            return
        place = metadata["parent_job_id"], metadata["child_key"]
        first = self._bought.setdefault(place, new["public_id"])
        if first != new["public_id"]:
            self.broken(f"{place[0]} has bought {new['public_id']} and, before, {first}, both as {place[1]!r}")
