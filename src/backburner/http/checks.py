"""Checks that several routes share."""

from __future__ import annotations

from typing import Any

import msgspec

from backburner.egress import check_callback_url
from backburner.errors import Invalid
from backburner.http.services import Services
from backburner.model import Job

MAX_METADATA_BYTES = 16 * 1024


def check_callback(services: Services, url: str) -> None:
    """Raises Invalid for a URL that no webhook may go to."""
    check_callback_url(url, allow_private=services.allow_private_callbacks)


def check_metadata(metadata: dict[str, Any]) -> None:
    """Raises Invalid for more than 16 KB."""
    if len(msgspec.json.encode(metadata)) > MAX_METADATA_BYTES:
        raise Invalid(
            f"The metadata is larger than {MAX_METADATA_BYTES} bytes.", code="metadata_too_large", param="metadata"
        )


def location(services: Services, job: Job) -> dict[str, str]:
    """The header that says where a new batch job is."""
    return {"Location": f"{(services.public_url or '').rstrip('/')}/v1/batches/{job.id}"}
