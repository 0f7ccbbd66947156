"""What a function of the user's came to, whatever it raised: the one boundary between its code and ours."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import msgspec

from backburner.errors import GiveUp, TryAgainLater, WorkFailed

MOST_PARTS = 20  # of a group, shown
MOST_FRAMES = 12
MOST_TEXT = 2000  # characters of one message


@attrs.frozen
class Returned:
    """It returned `value`."""

    value: Any


@attrs.frozen(kw_only=True)
class Raised:
    """It raised. Plain values only, so that it can leave a process whatever the exception is made of."""

    code: str
    message: str
    details: Any
    may_retry: bool
    retry_after: float | None

    def as_error(self) -> WorkFailed:
        return WorkFailed(
            self.code,
            self.message,
            details=self.details,
            may_retry=self.may_retry,
            retry_after=self.retry_after,
        )


Outcome = Returned | Raised


def outcome_of(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Outcome:
    """Call a plain function. Every error and `sys.exit` become a Raised; cancellation and Ctrl-C pass."""
    raised = Raised(code="", message="", details={}, may_retry=True, retry_after=None)
    try:
        return Returned(function(**arguments))
    except* (Exception, SystemExit) as errors:
        raised = raised_of(errors)
    return raised


async def outcome_of_async(function: Callable[..., Awaitable[Any]], arguments: Mapping[str, Any]) -> Outcome:
    """The same for an `async def`."""
    raised = Raised(code="", message="", details={}, may_retry=True, retry_after=None)
    try:
        return Returned(await function(**arguments))
    except* (Exception, SystemExit) as errors:
        raised = raised_of(errors)
    return raised


def raised_of(errors: BaseExceptionGroup[BaseException]) -> Raised:
    """What is recorded of an error; `errors` is as `except*` gives it."""
    error: BaseException = errors
    if len(errors.exceptions) == 1 and errors.message == "" and errors.__traceback__ is None:
        error = errors.exceptions[0]  # the wrapping of `except*`, not a group of the user's
    return Raised(
        code=_code(error),
        message=_message(error),
        details=_details(error),
        may_retry=not isinstance(error, GiveUp),
        retry_after=error.seconds if isinstance(error, TryAgainLater) else None,
    )


def _code(error: BaseException) -> str:
    if isinstance(error, GiveUp):
        return error.code
    if isinstance(error, WorkFailed):  # of a part that it had run elsewhere
        return error.code
    return "memory_exceeded" if isinstance(error, MemoryError) else "handler_error"


def _details(error: BaseException) -> Any:
    if isinstance(error, (GiveUp, TryAgainLater)) and error.details is not None and _is_json(error.details):
        return error.details or None
    return described(error)


def _is_json(value: Any) -> bool:
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _message(error: BaseException) -> str:
    """One line: `ValueError: no such city`; of a group its parts behind each other."""
    parts = leaves(error)
    if not isinstance(error, BaseExceptionGroup):
        return _one(error)
    shown = "; ".join(_one(part) for part in parts[:MOST_PARTS])
    return f"{len(parts)} errors: {shown}"[:MOST_TEXT]


def _one(error: BaseException) -> str:
    text = _text(error)
    if isinstance(error, (GiveUp, TryAgainLater)):  # what was said is said to people
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _text(error: BaseException) -> str:
    """What it says, as Unicode: the name of a file in it may be none."""
    return str(error)[:MOST_TEXT].encode("utf-8", "replace").decode()


def leaves(error: BaseException) -> list[BaseException]:
    """The errors that a group is made of, nested groups resolved; of any other error itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in leaves(part)]


def described(error: BaseException) -> dict[str, Any]:
    """Type, message, where it was raised, the parts of a group and the cause, as JSON."""
    found: dict[str, Any] = {
        "type": type(error).__name__,
        "message": _text(error),
        "traceback": [
            f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
        ][-MOST_FRAMES:],
    }
    if isinstance(error, BaseExceptionGroup):
        found["errors"] = [described(part) for part in error.exceptions[:MOST_PARTS]]
    if error.__cause__ is not None:
        found["cause"] = _one(error.__cause__)
    return found
