"""A background job in the hands of an instance."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Claim:
    """A background job that this instance has claimed and must now execute."""

    job_key: int
    job_id: str
    handler: str
    organization_key: int
    user_key: int
    token: str  #: of this claim, and so of this attempt
    attempt: int  #: from 1
    input: Any
    priority: int
    deadline_at: datetime | None
    queued_at: datetime
