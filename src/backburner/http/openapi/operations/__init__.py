"""The documentation of every handler: a route without an entry here fails a test."""

from __future__ import annotations

from backburner.http.openapi.operation import Operations
from backburner.http.openapi.operations import accounts, batches, files, jobs, operators, pages, runs

OPERATIONS: Operations = {
    **batches.OPERATIONS,
    **jobs.OPERATIONS,
    **runs.OPERATIONS,
    **files.OPERATIONS,
    **accounts.OPERATIONS,
    **operators.OPERATIONS,
    **pages.OPERATIONS,
}
