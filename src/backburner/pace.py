"""The numbers by which an instance works."""

from __future__ import annotations

from datetime import timedelta

import attrs


@attrs.frozen(kw_only=True)
class Pace:
    """The numbers by which the actors work. Times in seconds; the settings of the same names explain them."""

    interval: float = 60.0
    jitter: float = 10.0
    page_size: int = 1000
    poll_concurrency: int = 64
    lookback: timedelta = timedelta(weeks=2)
    audit_kept: timedelta = timedelta(days=730)
    lock_retry: float = 1.0
    most_queued: int = 200_000
    settle: float = 120.0
    write_rows: int = 4000
    write_bytes: int = 8 * 1024 * 1024
    write_window: float = 0.02
    holds: float = 30.0  # between looks at why jobs wait
    look: float = 30.0  # between looks at the database for work that no bell has announced
    callback_concurrency: int = 64
    callback_timeout: float = 5.0
    round_window: float = 2.0  # in which conversations of agents gather for their next round
    tool_concurrency: int = 64
    chunk_bytes: int = 16 * 1024 * 1024  # of a provider batch
    drain: float = 10.0  # for what is under way when the server is asked to stop
    may_lead: bool = True
    job_lease: float = 30.0  # for which a background job is claimed at a time
    jobs_per_organization: int = 1000  # at once on this instance
    file_retention: timedelta = timedelta(days=3)  # for uploaded files that nobody uses
