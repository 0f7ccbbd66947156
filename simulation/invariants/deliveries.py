"""Webhooks: owed in the transaction of the end, never sent before it, and sent until somebody listens."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import Counter
from typing import TYPE_CHECKING, ClassVar

import attrs
import msgspec

from simulation.invariants.base import Invariant
from simulation.mirror import ENDS
from simulation.store import SECRET, Commit, Row

if TYPE_CHECKING:
    from simulation.network import Message

#: Written down again, not taken from the program: it may be wrong there.
ATTEMPTS = 8  # before a webhook is given up
GONE = 410


@attrs.define(eq=False)
class Outbox(Invariant):
    name: ClassVar[str] = "a webhook is owed exactly when its job has ended, once"

    _owed: Counter[int] = attrs.field(factory=Counter)  # by job
    _last_answers: dict[int, int | None] = attrs.field(factory=dict)  # by delivery

    def after_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            if change.table == "attempts" and change.new is not None:
                self._check_attempt(change.new)
        for change in commit.changes:
            if change.table == "deliveries" and change.new is not None:
                self._check_delivery(change.old, change.new)
                self._check_end(change.new)
        for change in commit.changes:
            if change.table == "jobs" and change.new is not None and change.new["status"] in ENDS:
                self._check_job(change.new)

    def _check_delivery(self, old: Row | None, new: Row) -> None:
        if old is None:
            self._owed[new["job_id"]] += 1
            job = self.mirror.jobs.get(new["job_id"])
            if job is None or job["status"] not in ENDS:
                self.broken(f"{new['public_id']} is owed for a job that has not ended")
            if self._owed[new["job_id"]] > 1:
                self.broken(f"job {new['job_id']} owes {self._owed[new['job_id']]} webhooks")
        elif old["body"] != new["body"]:
            self.broken(f"{new['public_id']} says something else than before")
        elif new["scheduled"] - old["scheduled"] > new["number"] - old["number"]:
            self.broken(f"{new['public_id']} is nearer to being given up without another attempt")
        if (new["status"] == "pending") != (new["next_attempt_at"] is not None):
            self.broken(f"{new['public_id']} is {new['status']}, its next attempt {new['next_attempt_at']}")
        if new["scheduled"] > ATTEMPTS:
            self.broken(f"{new['public_id']} was attempted {new['scheduled']} times")
        is_there = (
            new["id"] in self.mirror.deliveries
        )  # that of a deleted job goes with its attempts once it is settled
        if is_there and self.mirror.attempts_of[new["id"]] != new["number"]:
            self.broken(f"{new['public_id']} counts {new['number']} of {self.mirror.attempts_of[new['id']]} attempts")

    def _check_end(self, row: Row) -> None:
        if row["status"] == "failed" and row["scheduled"] < ATTEMPTS:
            self.broken(f"{row['public_id']} was given up after {row['scheduled']} attempts")
        if row["status"] == "disabled" and self._last_answers[row["id"]] != GONE:
            self.broken(f"{row['public_id']} was given up after the answer {self._last_answers[row['id']]}")

    def _check_attempt(self, row: Row) -> None:
        self._last_answers[row["delivery_id"]] = row["status_code"]
        if row["error"] == "internal error":
            self.broken(f"attempt {row['number']} of delivery {row['delivery_id']} broke")

    def _check_job(self, job: Row) -> None:
        if job["callback_url"] is not None and not self._owed[job["id"]]:
            self.broken(f"{job['public_id']} is {job['status']}, and its webhook is not owed")

    def at_end(self) -> None:
        for row in self.mirror.deliveries.values():
            if row["status"] == "pending":
                self.broken(f"{row['public_id']} is still owed")


@attrs.define(eq=False)
class Webhooks(Invariant):
    name: ClassVar[str] = "receivers hear of ends that are committed, and deliveries are what they have confirmed"

    _confirmed: dict[str, set[int | None]] = attrs.field(factory=dict)  # by webhook-id
    _bodies: dict[str, bytes] = attrs.field(factory=dict)

    def sending(self, message: Message) -> None:
        if message.to != "webhook" or self.world.profile.clock_jumps:  # claims end by the time of day
            return
        webhook_id = message.request.headers["webhook-id"]
        row = self.mirror.delivery(webhook_id)
        if row is not None and row["status"] == "delivered" and not self.is_sent_by_hand(row):
            self.broken(f"{message.life.name} sends {webhook_id} again, which is delivered")

    def webhook(self, message: Message, status: int | None) -> None:
        request = message.request
        webhook_id, body = request.headers["webhook-id"], request.content
        self._confirmed.setdefault(webhook_id, set()).add(status)
        if self._bodies.setdefault(webhook_id, body) != body:
            self.broken(f"{webhook_id} does not say the same each time")
        self._check_signature(message)
        said = msgspec.json.decode(body)
        job = self.mirror.job(said["job_id"])
        if job is None:
            if said["job_id"] not in self.world.ledger.deleting:
                self.broken(f"{webhook_id} tells of {said['job_id']}, which is not there")
        elif (said["status"], said["stop_reason"]) != (job["status"], job["stop_reason"]) or job["status"] not in ENDS:
            self.broken(f"{webhook_id} tells that {said['job_id']} is {said['status']}, but it is {job['status']}")

    def _check_signature(self, message: Message) -> None:
        # By the sender's clock: `verify` would ask for the time of day.
        headers = message.request.headers
        webhook_id, at = headers["webhook-id"], int(headers["webhook-timestamp"])
        text = f"{webhook_id}.{at}.{message.request.content.decode()}".encode()
        if f"v1,{_signature(text)}" not in headers["webhook-signature"].split():
            self.broken(f"{webhook_id} is not signed with the organization's secret")

    def after_commit(self, commit: Commit) -> None:
        for change in commit.changes:
            row = change.new
            if change.table != "deliveries" or row is None or row["status"] != "delivered":
                continue
            if 200 not in self._confirmed.get(row["public_id"], ()):
                self.broken(f"{row['public_id']} counts as delivered, but nobody has confirmed it")


def _signature(text: bytes) -> str:
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    return base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
