"""What the database must hold by now, learnt from commits alone, and what the outside has seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import attrs
import msgspec
import trio

from simulation.store import Change, Commit, Row

#: Written down again, not taken from the program: it may be wrong there.
FINAL = frozenset({"ingested", "closed"})
ENDS = frozenset({"completed", "failed", "cancelled", "expired"})
OUTCOMES = ("succeeded", "errored", "canceled", "expired")
TOKENS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


@attrs.define(eq=False)
class Mirror:
    """The committed rows, by key, and sums over them that the product keeps too."""

    jobs: dict[int, Row] = attrs.field(factory=dict)
    batches: dict[int, Row] = attrs.field(factory=dict)
    deliveries: dict[int, Row] = attrs.field(factory=dict)
    by_public_id: dict[str, int] = attrs.field(factory=dict)  # of jobs; deleted ones too
    batches_of: dict[int, set[int]] = attrs.field(factory=lambda: defaultdict(set))
    stored_of_batch: dict[int, Counter[str]] = attrs.field(factory=lambda: defaultdict(Counter))
    stored_of_job: dict[int, Counter[str]] = attrs.field(factory=lambda: defaultdict(Counter))
    used_by_job: dict[int, Counter[str]] = attrs.field(factory=lambda: defaultdict(Counter))
    work: dict[int, Row] = attrs.field(factory=dict)  # by job
    claimed_at: dict[str, float] = attrs.field(factory=dict)  # by token
    conversations: dict[tuple[int, int], Row] = attrs.field(factory=dict)  # job, item
    calls: dict[tuple[int, int, str], Row] = attrs.field(factory=dict)  # job, round, the model's id of the call
    items_of: Counter[int] = attrs.field(factory=Counter)
    attempts_of: Counter[int] = attrs.field(factory=Counter)
    epoch: Row = attrs.field(factory=lambda: {"epoch": 0, "term_id": "", "instance_id": ""})
    #: Batches by the provider's id.
    at_provider: dict[str, int] = attrs.field(factory=dict)

    def take(self, commit: Commit) -> None:
        """Follow a commit."""
        for change in commit.changes:
            getattr(self, f"_take_{change.table}")(change)

    def job(self, public_id: str) -> Row | None:
        """A job that is not deleted."""
        return self.jobs.get(self.by_public_id.get(public_id, -1))

    def delivery(self, public_id: str) -> Row | None:
        """A webhook that is or was owed."""
        return next((row for row in self.deliveries.values() if row["public_id"] == public_id), None)

    @property
    def open_work(self) -> Iterable[str]:
        """What has not come to its end."""
        for row in self.jobs.values():
            if row["status"] not in ENDS:
                yield f"{row['public_id']} is {row['status']}"
        for row in self.batches.values():
            if row["status"] not in FINAL:
                yield f"{row['public_id']} is {row['status']}, next look {row['next_poll_at']}, error {row['error']}"
        for row in self.deliveries.values():
            if row["status"] == "pending":
                yield f"{row['public_id']} is pending, next attempt {row['next_attempt_at']}"

    @property
    def is_settled(self) -> bool:
        return next(iter(self.open_work), None) is None

    def _take_jobs(self, change: Change) -> None:
        _put(self.jobs, change)
        if change.new is not None:
            self.by_public_id[change.new["public_id"]] = change.new["id"]

    def _take_provider_batches(self, change: Change) -> None:
        _put(self.batches, change)
        row = change.new or change.old or {}
        if change.new is None:
            self.batches_of[row["job_id"]].discard(row["id"])
        else:
            self.batches_of[row["job_id"]].add(row["id"])
            if row["provider_batch_id"]:
                self.at_provider[row["provider_batch_id"]] = row["id"]

    def _take_deliveries(self, change: Change) -> None:
        _put(self.deliveries, change)

    def _take_results(self, change: Change) -> None:
        for row, step in ((change.old, -1), (change.new, 1)):
            if row is not None:
                self.stored_of_batch[row["batch_id"]][row["status"]] += step
                self.stored_of_job[row["job_id"]][row["status"]] += step
                for name, tokens in usage_in(row["line"]).items():
                    self.used_by_job[row["job_id"]][name] += step * tokens

    def _take_conversations(self, change: Change) -> None:
        row = change.new or change.old or {}
        if change.new is None:
            self.conversations.pop((row["job_id"], row["idx"]), None)
        else:
            self.conversations[row["job_id"], row["idx"]] = row

    def _take_tool_calls(self, change: Change) -> None:
        row = change.new or change.old or {}
        self.calls[row["job_id"], row["round"], row["tool_use_id"]] = row

    def _take_work(self, change: Change) -> None:
        if change.new is None:
            self.work.pop((change.old or {})["job_id"], None)
            return
        self.work[change.new["job_id"]] = change.new
        if change.new["token"] is not None:
            self.claimed_at.setdefault(change.new["token"], trio.current_time())

    def outcomes_of_agents(self, job_key: int) -> Counter[str]:
        """How conversations of a job have ended."""
        return Counter(
            row["status"] for (job, _), row in self.conversations.items() if job == job_key and row["state"] == "done"
        )

    def _take_items(self, change: Change) -> None:
        row = change.new or change.old or {}
        self.items_of[row["job_id"]] += (change.new is not None) - (change.old is not None)

    def _take_attempts(self, change: Change) -> None:
        if change.new is not None and change.old is None:
            self.attempts_of[change.new["delivery_id"]] += 1

    def _take_leader_epoch(self, change: Change) -> None:
        if change.new is not None:
            self.epoch = change.new


def _put(rows: dict[int, Row], change: Change) -> None:
    if change.new is None:
        rows.pop((change.old or {})["id"], None)
    else:
        rows[change.new["id"]] = change.new


class _Message(msgspec.Struct):
    usage: dict[str, object] = {}


class _Result(msgspec.Struct):
    message: _Message | None = None


_decoder = msgspec.json.Decoder(_Result)


def usage_in(line: str) -> dict[str, int]:
    """Tokens that a stored result was billed with."""
    try:
        result = _decoder.decode(line)
    except msgspec.MsgspecError:  # lone surrogates, replaced: never by the sandbox without a marker
        return {}
    found = {} if result.message is None else result.message.usage
    return {name: tokens for name in TOKENS if isinstance(tokens := found.get(name), int)}
