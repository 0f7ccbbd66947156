"""What a failed attempt at a file shows to its organization, and whether there is another."""

from __future__ import annotations

import structlog

from backburner.errors import GiveUp, Invalid, NotFound, TransientError, TryAgainLater, WriteRefused

log = structlog.get_logger()

AWAY = 5.0  # seconds until the next attempt when the database is away
AGAIN = 60.0  # seconds until the next attempt after anything else that may pass

#: What the same file raises again, however often it is read.
_DETERMINISTIC = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    WriteRefused,
)


def failure_of(error: Exception, job_id: str) -> GiveUp | TryAgainLater:
    """What is raised for `error`. It never says where in the server it was raised; what nobody expected is logged."""
    match error:
        case GiveUp() | Invalid():
            return GiveUp(str(error), code=error.code, details=error.details or ())
        case NotFound():
            return GiveUp(str(error), code="not_found", details=())
        case TryAgainLater():
            return TryAgainLater(str(error), seconds=error.seconds, details=())
        case TransientError():
            return TryAgainLater("The database is away.", seconds=AWAY, details=())
    log.error("reading a file failed", job=job_id, exc_info=error)
    return _unexpected(error)


def _unexpected(error: Exception) -> GiveUp | TryAgainLater:
    if isinstance(error, OSError):
        reason = error.strerror or "the machine does not say why"
        return TryAgainLater(f"The file cannot be read now: {reason}.", seconds=AGAIN, details=())
    if isinstance(error, _DETERMINISTIC):
        message = "The server failed at this file, and would again. Its log says why, under this job's id."
        return GiveUp(message, code="internal_error", details=())
    message = "The server failed to read the file. Its log says why, under this job's id."
    return TryAgainLater(message, seconds=AGAIN, details=())
