"""Jobs: what was answered exists, and what has ended stays as it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
import msgspec

from simulation.invariants.base import Invariant
from simulation.mirror import ENDS
from simulation.store import Change, Commit

if TYPE_CHECKING:
    from simulation.asking import Ask
    from simulation.clients import Client, Operation

#: Written down again, not taken from the program: it may be wrong there.
ALLOWED = {
    "created": {"pending", "cancelled", "failed", "expired"},
    "pending": {"running", "cancelled", "failed", "expired"},
    "running": {"completed", "failed", "cancelled", "expired"},
    **dict.fromkeys(ENDS, frozenset[str]()),
}
END = ("status", "completed_at", "stop_reason")


@attrs.define(eq=False)
class Endings(Invariant):
    name: ClassVar[str] = "a job that has ended never changes, and has an end exactly then"

    def before_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            if change.table == "jobs" and change.new is not None:
                self._check(change)

    def _check(self, change: Change) -> None:
        old, new = change.old, change.new
        assert new is not None
        who = new["public_id"]
        if (new["status"] in ENDS) != (new["completed_at"] is not None):
            self.broken(f"{who} is {new['status']} with completed_at {new['completed_at']}")
        if new["status"] in ENDS and new["hold"] is not None:
            self.broken(f"{who} is {new['status']} and still waits: {new['hold']}")
        if old is None:
            return
        if old["status"] in ENDS and any(old[name] != new[name] for name in END):
            self.broken(f"the end of {who} changed: {[old[n] for n in END]} → {[new[n] for n in END]}")
        if old["status"] != new["status"] and new["status"] not in ALLOWED[old["status"]]:
            self.broken(f"{who} went from {old['status']} to {new['status']}")
        if new["version"] < old["version"]:
            self.broken(f"the version of {who} went back from {old['version']} to {new['version']}")


@attrs.define(eq=False)
class Acknowledged(Invariant):
    name: ClassVar[str] = "a job that was answered with success exists"

    def acknowledged(self, operation: Operation, job_id: str) -> None:
        if self.mirror.job(job_id) is None and job_id not in self.world.ledger.deleting:
            self.broken(f"{job_id} was answered to {operation.name}, but is not there")

    def before_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            if change.table != "jobs" or change.new is not None or change.old is None:
                continue
            if change.old["public_id"] not in self.world.ledger.deleting:
                self.broken(f"{change.old['public_id']} is gone, and nobody has deleted it")

    def answered(self, client: Client, ask: Ask) -> None:
        if ask.status is None:
            return
        if ask.status >= 500 and ask.status != 503:
            self.broken(f"{ask.method} {ask.path} was answered {ask.status}: {bytes(ask.answer)!r}")
        if ask.status in (200, 202) and ask.answer_headers.get("content-type") == "application/json":
            self._check(ask)

    def _check(self, ask: Ask) -> None:
        seen = ask.json
        if not isinstance(seen, dict) or seen.get("object") != "job":
            return
        counts = seen["request_counts"]
        if counts and counts["total"] != sum(number for name, number in counts.items() if name != "total"):
            self.broken(f"{seen['id']} was shown with counts {counts}")
        if (row := self.mirror.jobs.get(self.mirror.by_public_id.get(seen["id"], -1))) is None:
            return
        if seen["completed_at"] and seen["status"] != row["status"]:
            self.broken(f"{seen['id']} was shown as {seen['status']}, but is {row['status']}")

    def at_end(self) -> None:
        for operation in self.world.ledger.operations.values():
            for job_id in sorted(operation.acknowledged - self.world.ledger.deleting):
                if self.mirror.job(job_id) is None:
                    self.broken(f"{job_id} of {operation.name} is not there in the end")


@attrs.define(eq=False)
class Once(Invariant):
    name: ClassVar[str] = "a request with an Idempotency-Key makes one job"

    def before_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            if change.table == "jobs" and change.old is None and change.new is not None:
                self._check(change.new)

    def _check(self, row: dict[str, object]) -> None:
        name = msgspec.json.decode(str(row["metadata"])).get("op")
        operation = self.world.ledger.operations.get(name)
        if operation is None:
            return
        if row["retry_of"] is not None:
            operation = attrs.evolve(operation, name=f"retry of {name}", once=True, made=self._retries(str(name)))
        operation.made.add(str(row["public_id"]))
        if operation.once and len(operation.made) > 1:
            self.broken(f"{operation.name} made {sorted(operation.made)}")

    _retried: dict[str, set[str]] = attrs.field(factory=dict)

    def _retries(self, name: str) -> set[str]:
        return self._retried.setdefault(name, set())

    def acknowledged(self, operation: Operation, job_id: str) -> None:
        if job_id not in operation.made:
            self.broken(f"{operation.name} was answered {job_id}, which was made for somebody else")
