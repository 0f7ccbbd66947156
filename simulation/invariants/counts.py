"""Items: none lost, none counted twice, and the provider's own words kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import msgspec

from simulation.invariants.base import Invariant
from simulation.mirror import ENDS, FINAL, OUTCOMES, TOKENS
from simulation.store import Commit, Row

if TYPE_CHECKING:
    from simulation.asking import Ask

ENDED = FINAL | {"ended"}


@attrs.define(eq=False)
class Counting(Invariant):
    name: ClassVar[str] = "every item is counted once, and its usage booked once"

    def after_commit(self, commit: Commit) -> None:
        touched: set[int] = set()
        for change in commit.changes:
            row = change.new or change.old or {}
            if change.table == "jobs":
                touched.add(row["id"])
            elif change.table in ("results", "provider_batches", "conversations"):
                touched.add(row["job_id"])
        for key in sorted(touched & self.mirror.jobs.keys()):
            self._check_job(self.mirror.jobs[key])

    def _check_job(self, job: Row) -> None:
        if job["items_total"] is None:
            return
        batches = [self.mirror.batches[key] for key in sorted(self.mirror.batches_of[job["id"]])]
        counted = {name: job[name] for name in OUTCOMES}
        real = self._outcomes(job, batches)
        if counted != real:
            self.broken(f"{job['public_id']} counts {counted}, but it is {real}")
        if sum(counted.values()) > job["items_total"]:
            self.broken(f"{job['public_id']} has {counted} of {job['items_total']} items")
        if job["status"] in ENDS and sum(counted.values()) != job["items_total"]:
            self.broken(f"{job['public_id']} is {job['status']} with {counted} of {job['items_total']} items")
        if self.mirror.items_of[job["id"]] != job["items_total"]:
            self.broken(f"{job['public_id']} has {self.mirror.items_of[job['id']]} of {job['items_total']} items")
        self._check_usage(job)
        self._check_batches(job, batches)

    def _outcomes(self, job: Row, batches: list[Row]) -> dict[str, int]:
        of_agents = job["agent"] is not None
        ended = self.mirror.outcomes_of_agents(job["id"]) if of_agents else self.mirror.stored_of_job[job["id"]]
        found = {name: ended[name] for name in OUTCOMES}
        for batch in batches:
            if batch["status"] == "closed" and batch["round"] == 1:
                found[batch["fill"]] += batch["item_count"] - self.mirror.stored_of_batch[batch["id"]].total()
        return found

    def _check_usage(self, job: Row) -> None:
        used = self.mirror.used_by_job[job["id"]]
        booked = {name: job[name] for name in TOKENS}
        real = {name: used[name] for name in TOKENS}
        if booked != real:
            self.broken(f"{job['public_id']} booked {booked}, but it is {real}")

    def _check_ranges(self, job: Row, batches: list[Row]) -> None:
        following = 0
        for batch in sorted(batches, key=lambda batch: int(batch["first_idx"])):
            if batch["first_idx"] != following:
                self.broken(f"{batch['public_id']} begins at {batch['first_idx']}, expected {following}")
            if batch["item_count"] != batch["last_idx"] - batch["first_idx"] + 1:
                self.broken(f"{batch['public_id']} counts {batch['item_count']} items")
            following = batch["last_idx"] + 1
        if following != job["items_total"]:
            self.broken(f"{job['public_id']} has batches for {following} of {job['items_total']} items")

    def _check_batches(self, job: Row, batches: list[Row]) -> None:
        self._check_ranges(job, [batch for batch in batches if batch["round"] == 1])
        for batch in batches:
            counted = {name: batch[name] for name in OUTCOMES}
            real = {name: self.mirror.stored_of_batch[batch["id"]][name] for name in OUTCOMES}
            if counted != real:
                self.broken(f"{batch['public_id']} counts {counted}, but it is {real}")
            if batch["status"] == "ingested" and sum(real.values()) != batch["item_count"]:
                self.broken(f"{batch['public_id']} is ingested with {real} of {batch['item_count']} items")
        shown = (job["batches_total"], job["batches_ended"], job["batches_final"])
        real_batches = (
            len(batches),
            sum(batch["status"] in ENDED for batch in batches),
            sum(batch["status"] in FINAL for batch in batches),
        )
        if shown != real_batches:
            self.broken(f"{job['public_id']} counts batches {shown}, but it is {real_batches}")


#: What the provider says in a second line for an item (its fault `contradict`).
CONTRADICTION = '{"type":"expired"}'


@attrs.define(eq=False)
class Results(Invariant):
    name: ClassVar[str] = "a result is the provider's, byte for byte, and never changes"

    def before_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            if change.table != "results":
                continue
            if change.new is None:
                self._check_removal(change.old or {})
            elif change.old is not None:
                self.broken(f"the result of item {change.new['idx']} of job {change.new['job_id']} changed")
            else:
                self._check(change.new)

    def _check_removal(self, row: Row) -> None:
        if row["job_id"] in self.mirror.jobs:
            self.broken(f"the result of item {row['idx']} of job {row['job_id']} is gone")

    def _check(self, row: Row) -> None:
        batch = self.mirror.batches.get(row["batch_id"])
        if batch is None or not batch["first_idx"] <= row["idx"] <= batch["last_idx"]:
            self.broken(f"item {row['idx']} of job {row['job_id']} has a result that is not its own")
            return
        if '"code":"result_' in row["line"]:
            if not self.world.profile.may_spoil:
                self.broken(f"item {row['idx']} of {batch['public_id']} has no result, but the provider sent one")
            return
        theirs = self.world.account.results(batch["provider_batch_id"]).get(f"{batch['nonce']}-{row['idx']}")
        if self.world.profile.may_spoil and row["line"] == CONTRADICTION:
            return  # of two lines of the provider the first could not be read
        if theirs != row["line"]:
            self.broken(f"item {row['idx']} of {batch['public_id']} is not what the provider sent")

    def downloaded(self, job_id: str, ask: Ask) -> None:
        job = self.mirror.job(job_id)
        if ask.status != 200 or job is None:
            return
        lines: list[dict[str, Any]] = [msgspec.json.decode(line) for line in ask.answer.splitlines()]
        named = [line["custom_id"] for line in lines]
        if len(named) != job["items_total"] or len(set(named)) != len(named):
            self.broken(f"the results of {job_id} are of {named}, it has {job['items_total']} items")
        found = {name: sum(line["result"]["type"] == name for line in lines) for name in OUTCOMES}
        counted = {name: job[name] for name in OUTCOMES}
        if found != counted:
            self.broken(f"the results of {job_id} are {found}, it counts {counted}")
