"""Known bugs of what clients and receivers see."""

from __future__ import annotations

from simulation.mutants.base import Mutant
from simulation.where import BATCHES, Where

SERVING = (
    Mutant(
        "only completed jobs owe a webhook",
        "webhooks",
        "storage/settle.py",
        "    if job.callback_url is not None:\n        _owe_delivery",
        "    if job.callback_url is not None and status is JobStatus.COMPLETED:\n        _owe_delivery",
        Where(workloads=("a_batch_is_cancelled", "a_batch_has_a_deadline")),
    ),
    Mutant(
        "an attempt is recorded twice",
        "webhooks",
        "storage/deliveries.py",
        " and row.number == attempt.number - 1\n",
        "\n",
        Where(rates={"unknown": 0.3}, profile={"receivers": {"500": 0.6}}, workloads=("a_webhook_is_sent_again",)),
    ),
    Mutant(
        "a redirect counts as delivered",
        "webhooks",
        "delivery_schedule.py",
        "    if status_code is not None and 200 <= status_code < 300:",
        "    if status_code is not None and 200 <= status_code < 400:",
        Where(profile={"receivers": {"302": 0.6}}, workloads=("a_webhook_is_sent_again",)),
    ),
    Mutant(
        "a webhook is given up after one attempt",
        "webhooks",
        "delivery_schedule.py",
        "    if due.scheduled >= len(SCHEDULE):",
        "    if due.scheduled >= 1:",
        Where(profile={"receivers": {"500": 0.6}}, workloads=("a_webhook_is_sent_again",)),
    ),
    Mutant(
        "a receiver's wish is not heard",
        "webhooks",
        "delivery_schedule.py",
        "    wish = retry_after if status_code in BUSY else None",
        "    wish = None",
        Where(profile={"receivers": {"503": 0.6}, "clock_jumps": ()}, workloads=("a_webhook_is_sent_again",)),
    ),
    Mutant(
        "the answer is not stored with the job",
        "a repeated POST",
        "storage/idempotency.py",
        "    if done is not None:\n        record(tx, done, told(outcome))",
        "    if done is not None:\n        told(outcome)",
        Where(rates={"unanswered": 0.2, "repeated": 0.2}, workloads=BATCHES),
    ),
    Mutant(
        "deleting a job deletes older ones too",
        "a 202 is durable",
        "storage/jobs.py",
        "    tx.execute(sa.delete(jobs).where(jobs.c.id == job.key))",
        "    tx.execute(sa.delete(jobs).where(jobs.c.id <= job.key))",
        Where(profile={"workloads": 3}, workloads=("a_batch_is_deleted", "a_job_is_moved_by_its_owner")),
    ),
    Mutant(
        "anybody may see a job",
        "tenancy",
        "storage/jobs.py",
        "    found = _JOB if organization_key is None else _OWN_JOB",
        "    found = _JOB",
        Where(workloads=("somebody_elses_job_is_asked_for",)),
    ),
)
