"""What can go wrong, in the domain's words. The class of an error is the policy for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backburner.surrogates import storable

#: Characters of what a provider says and of its code that are kept.
LONGEST_WORDS, LONGEST_CODE = 10_000, 255


class BackburnerError(Exception):
    """Every error this program raises on purpose."""


class StoppedShort(BackburnerError):
    """The process was told to stop and did not manage to in order."""


class TransientError(BackburnerError):
    """Not now; the same call may succeed later."""


# --- storage -----------------------------------------------------------------------------------------------


class StorageUnavailable(TransientError):
    """The database is away, busy or full. Whether a commit under way took effect is not known."""


class StorageReadOnly(StorageUnavailable):
    """The database answers and takes no writes: it is read-only, a standby, or full.

    `by_session` says that it is the session which is read-only: a new one may not be.
    """

    def __init__(self, message: str, *, by_session: bool = False) -> None:
        super().__init__(message)
        self.by_session = by_session


class StorageUnusable(BackburnerError):
    """The database cannot be used as it is: damaged, newer than this program, not migrated, of a wrong version."""


class WriteRefused(BackburnerError):
    """The database refuses the values themselves; the same write will never succeed."""


class LeadershipLost(BackburnerError):
    """A fenced write found that its term is over; nothing was changed."""


# --- requests ----------------------------------------------------------------------------------------------


class NotFound(BackburnerError):
    """No such object, or not one that the caller may know of."""

    def __init__(self, kind: str, public_id: str) -> None:
        super().__init__(f"No {kind} with id {public_id!r}.")


class Vanished(NotFound):
    """An object was deleted while something was made of it."""

    def __init__(self) -> None:
        BackburnerError.__init__(self, "The object was deleted meanwhile.")


class Conflict(BackburnerError):
    """The object's state does not allow this. `code` is one of the documented error codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Invalid(BackburnerError):
    """The request says something that cannot be. `param` names the field."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid_value",
        param: str | None = None,
        details: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.details = details


class Malformed(Invalid):
    """The request's text itself cannot be read: not JSON, wrong encoding, duplicate keys, nested too deeply."""

    def __init__(self, message: str, *, code: str = "invalid_json", param: str | None = None) -> None:
        super().__init__(message, code=code, param=param)


class QuotaExceeded(BackburnerError):
    """The organization has used up what it may. `code` names the quota, `retry_after` is in seconds."""

    def __init__(self, code: str, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class TooLarge(BackburnerError):
    """What is asked for can never fit, however long one waits."""


class CannotListen(BackburnerError):
    """The address to serve on cannot be used: taken, not ours, not allowed, or no such host."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"Cannot listen on {host} port {port}: {reason}.")
        self.host = host
        self.port = port


# --- providers ---------------------------------------------------------------------------------------------


class ProviderError(BackburnerError):
    """The provider answered, or failed to. `status` is the HTTP status if there was one."""

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(storable(message, longest=LONGEST_WORDS))  # it may be the provider's, and is stored
        self.status = status
        self.code = code if code is None else storable(code, longest=LONGEST_CODE)


class ProviderUnavailable(ProviderError, TransientError):
    """Try again later. From `submit`: nothing was made. `retry_after` is the provider's wish in seconds, if any."""

    def __init__(
        self, message: str, *, status: int | None = None, code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, status=status, code=code)
        self.retry_after = retry_after


class SubmissionInterrupted(ProviderUnavailable):
    """The connection broke while a submission was being sent; nothing was made."""


class ProviderPaused(ProviderError):
    """The account cannot be used: key, permission, billing, spend limit. A person has to act."""


class BatchNotFound(ProviderError):
    """404 for a provider batch. It proves nothing for weeks: the key may be wrong, a replica may lag behind."""


class SubmissionRefused(ProviderError):
    """The provider refused these requests for good; nothing was made."""


class SubmissionTooLarge(SubmissionRefused):
    """Too many requests or bytes at once; nothing was made; smaller parts may be accepted."""


class SubmissionUnknown(ProviderError):
    """The provider may or may not have made a batch."""


class ResultsBroken(ProviderError, TransientError):
    """The stream of results ended early; what was read is good."""


class ResultsGone(ProviderError):
    """The provider says that it no longer keeps these results, or this batch."""


# --- background work ---------------------------------------------------------------------------------------


class WrongApp(BackburnerError):
    """The module of handlers and tools cannot be used: not found, broken, or it registers something impossible."""


class GiveUp(BackburnerError):
    """Raised by a handler or tool: it failed, and another attempt would fail too.

    `details` are JSON, for the job; None: where it was raised. An empty sequence is not shown.
    """

    def __init__(self, message: str, *, code: str = "gave_up", details: Sequence[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.details = details


class TryAgainLater(BackburnerError):
    """Raised by a handler or tool: not now, but after `seconds` it may succeed. `details` as of `GiveUp`."""

    def __init__(self, message: str, *, seconds: float, details: Sequence[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.details = details


class WorkFailed(BackburnerError):
    """A function of the user's failed. `details` is JSON: type, message, traceback, and the same of a group's parts.

    `may_retry` says whether another attempt makes sense; `retry_after`, in seconds, when the function asks for a time.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        details: Any = None,
        may_retry: bool = True,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.may_retry = may_retry
        self.retry_after = retry_after


class WorkTimedOut(WorkFailed):
    """A function of the user's took longer than it may. What it does in a thread may still go on."""

    def __init__(self, message: str) -> None:
        super().__init__("timed_out", message)
