"""Requests taken in over HTTP."""

from __future__ import annotations

from typing import Any

from backburner.batch_report import Report
from backburner.checked_intake import CheckedIntake
from backburner.http.services import Services


def checked_intake(services: Services, *, report: Report, **how: Any) -> CheckedIntake:
    """An intake within the server's limits; `how` as its other fields."""
    return CheckedIntake(
        database=services.database, clock=services.clock, ids=services.ids, limits=services.limits, report=report, **how
    )
