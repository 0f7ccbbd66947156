"""The side table by which jobs are found by members of their metadata."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backburner.job_metadata import sought
from backburner.storage.tables import job_metadata


def store_sought(
    tx: sa.Connection, job_key: int, public_id: str, organization_key: int, metadata: dict[str, Any]
) -> None:
    """Have the job found by what its metadata says now, and by nothing that it said before."""
    tx.execute(sa.delete(job_metadata).where(job_metadata.c.job_id == job_key))
    add_sought(tx, job_key, public_id, organization_key, metadata)


def add_sought(
    tx: sa.Connection, job_key: int, public_id: str, organization_key: int, metadata: dict[str, Any]
) -> None:
    """The same for a job that is new."""
    shared = {"job_id": job_key, "organization_id": organization_key, "job_public_id": public_id}
    rows = [{**shared, "name": name, "value": value} for name, value in sought(metadata).items()]
    if rows:
        tx.execute(sa.insert(job_metadata), rows)
