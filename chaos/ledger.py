"""What clients were promised, and whether it was kept: by the server, on the provider's bill, at the receiver."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import attrs
import httpx2
import msgspec
from tests.processes.harness import SANDBOX_HEADERS, Process, provider_batches, results
from tests.processes.receiver import Receiver

PATIENCE = 120.0  # seconds that the last job gets to end, once nothing goes wrong any more


class Violation(AssertionError):
    """A promise was broken."""


@attrs.define(eq=False)
class Ledger:
    """Every job that a client was told is accepted, with the custom ids of its items."""

    jobs: dict[str, list[str]] = attrs.field(factory=dict, init=False)
    refused: Counter[str] = attrs.field(factory=Counter, init=False)  #: answers that were no acceptance, by kind
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def accepted(self, job_id: str, custom_ids: list[str]) -> None:
        with self._lock:
            if job_id in self.jobs:
                raise Violation(f"{job_id} was accepted for two submissions")
            self.jobs[job_id] = custom_ids

    def undelivered(self, receiver: Receiver) -> set[str]:
        """Jobs of which the receiver has not heard."""
        return self.jobs.keys() - {body["job_id"] for body in receiver.bodies}

    def audit(
        self, server: Process, provider: Process, receiver: Receiver | None, *, strangers: int = 0
    ) -> dict[str, Any]:
        """Wait until everything has ended, then check all of it. Returns figures; raises Violation.

        `strangers`: items that the provider may have beside them, of jobs that a restore has lost.
        """
        with server.client() as client:
            ended = [self._ended(client, job_id) for job_id in self.jobs]
            for job in ended:
                self._complete(client, job)
        planned = sum(job["provider_batches"]["total"] for job in ended)
        billed = self._billed(provider, planned, strangers)
        figures: dict[str, Any] = {"jobs": len(ended), "items": billed, "provider batches": planned}
        if receiver is not None:
            figures |= self._told(ended, receiver)
        return figures | {f"answers: {kind}": count for kind, count in sorted(self.refused.items())}

    def _ended(self, client: httpx2.Client, job_id: str) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            answer = client.get(f"/v1/jobs/{job_id}", params={"wait": "10"})
            if answer.status_code == 404:
                raise Violation(f"lost: {job_id} was accepted and is not there")
            job = dict(answer.raise_for_status().json())
            if job["completed_at"]:
                return job
        raise Violation(f"stuck: {job_id} is {job['status']} after {PATIENCE:.0f} s: {job['request_counts']}")

    def _complete(self, client: httpx2.Client, job: dict[str, Any]) -> None:
        wanted = self.jobs[job["id"]]
        if (job["status"], job["request_counts"]["succeeded"]) != ("completed", len(wanted)):
            raise Violation(f"{job['id']} is {job['status']} with {job['request_counts']}, {len(wanted)} were sent")
        stored = results(client, job["id"])
        if [line["custom_id"] for line in stored] != wanted:
            raise Violation(f"{job['id']} has other results than items")
        used = sum(line["result"]["message"]["usage"]["output_tokens"] for line in stored)
        if used != job["usage"]["output_tokens"]:
            raise Violation(f"{job['id']} booked {job['usage']['output_tokens']} output tokens, used were {used}")

    def _billed(self, provider: Process, planned: int, strangers: int) -> int:
        """Each item once, in as many batches as were planned; the provider is asked."""
        made = provider_batches(provider)
        if not strangers and len(made) != planned:
            raise Violation(f"{planned} provider batches were planned, {len(made)} were made")
        wire_ids: Counter[str] = Counter()
        with httpx2.Client(base_url=provider.url, headers=SANDBOX_HEADERS) as client:
            for batch in made:
                answer = client.get(f"/v1/messages/batches/{batch['id']}/results").raise_for_status()
                wire_ids.update(msgspec.json.decode(line)["custom_id"] for line in answer.content.splitlines())
        items = sum(map(len, self.jobs.values()))
        twice = [wire_id for wire_id, count in wire_ids.items() if count > 1]
        if twice or not items <= len(wire_ids) <= items + strangers:
            raise Violation(f"billed were {len(wire_ids)} items of {items}, twice: {twice[:5]}")
        return items

    def _told(self, ended: list[dict[str, Any]], receiver: Receiver) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while (missing := self.undelivered(receiver)) and time.monotonic() < until:
            time.sleep(0.1)
        if missing:
            raise Violation(f"no webhook came for {sorted(missing)[:5]} and {len(missing)} in all")
        statuses = {job["id"]: job["status"] for job in ended}
        wrong = [body for body in receiver.bodies if statuses.get(body["job_id"], body["status"]) != body["status"]]
        if wrong:
            raise Violation(f"webhooks said something else: {wrong[:3]}")
        ours = [arrival.id for arrival in receiver.arrivals if arrival.body["job_id"] in statuses]
        if len(set(ours)) != len(statuses):
            raise Violation(f"{len(statuses)} jobs have {len(set(ours))} different webhook-ids")
        return {"webhooks": len(statuses), "webhooks that came again": len(ours) - len(statuses)}
