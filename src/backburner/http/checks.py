"""Checks that several routes share."""

from __future__ import annotations

from backburner.egress import check_callback_url
from backburner.http.services import Services
from backburner.model import Job
from backburner.states import JobType


def check_callback(services: Services, url: str) -> None:
    """Raises Invalid for a URL that no webhook may go to."""
    check_callback_url(url, allow_private=services.allow_private_callbacks, ports=services.callback_ports)


def location(services: Services, job: Job) -> dict[str, str]:
    """The header that says where a new job is."""
    place = "batches" if job.job_type is JobType.BATCH else "jobs"
    return {"Location": f"{(services.public_url or '').rstrip('/')}/v1/{place}/{job.id}"}
