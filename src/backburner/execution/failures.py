"""What a function of the user's came to, whatever it raised: the one boundary between its code and ours."""

from __future__ import annotations

import math
import os
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import msgspec
import trio

from backburner.errors import GiveUp, TryAgainLater, WorkFailed

HANDLER_ERROR = "handler_error"
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


#: Says of an error whether it belongs to the server and not to the function that was called.
IsOurs = Callable[[BaseException], bool]


def ctrl_c(error: BaseException) -> bool:
    """Python raises it in the main thread only; anywhere else it is the function's own."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def ctrl_c_or_cancelled(error: BaseException) -> bool:
    """In a task. A Cancelled that no scope around the task has asked for was kept and raised again by the function."""
    return ctrl_c(error) or (isinstance(error, trio.Cancelled) and trio.current_effective_deadline() == -math.inf)


def nothing(_: BaseException) -> bool:
    """In a process that serves one function: a stop of the server kills it and raises nothing there."""
    return False


def outcome_of(function: Callable[..., Any], arguments: Mapping[str, Any], *, is_ours: IsOurs = ctrl_c) -> Outcome:
    """Call a plain function. Whatever it raises becomes a Raised, `sys.exit` and BaseExceptions too; Ctrl-C passes."""
    try:
        return Returned(function(**arguments))
    except BaseException as error:  # noqa: ASYNC103  # what is ours is raised again
        theirs = theirs_of(error, is_ours)
        if theirs is None:
            raise
        return raised_of(theirs)  # noqa: ASYNC104  # what is not ours is an outcome


async def outcome_of_async(function: Callable[..., Awaitable[Any]], arguments: Mapping[str, Any]) -> Outcome:
    """The same for an `async def`. The cancellation of its task passes, unless the function raised something beside it:
    the task's next checkpoint is cancelled in any case.
    """
    try:
        return Returned(await function(**arguments))
    except BaseException as error:  # noqa: ASYNC103  # what is ours is raised again
        theirs = theirs_of(error, ctrl_c_or_cancelled)
        if theirs is None:
            raise
        return raised_of(theirs)  # noqa: ASYNC104  # what is not ours is an outcome


def theirs_of(error: BaseException, is_ours: IsOurs) -> BaseException | None:
    """The part of an error that is the function's own; None when there is none, or when Ctrl-C is in it."""
    if not isinstance(error, BaseExceptionGroup):
        return None if is_ours(error) else error
    ours, theirs = error.split(is_ours)
    return None if ours is not None and ours.subgroup(KeyboardInterrupt) is not None else theirs


def raised_of(error: BaseException) -> Raised:
    """What is recorded of an error, whatever it does when it is looked at."""
    try:
        return Raised(
            code=_code(error),
            message=_message(error),
            details=_details(error),
            may_retry=not isinstance(error, GiveUp),
            retry_after=float(error.seconds) if isinstance(error, TryAgainLater) else None,
        )
    except BaseException as another:  # noqa: ASYNC103  # an error's class is code of the user's too
        if ctrl_c(another):
            raise
        name = type(error).__name__
        message = f"{name}, of which nothing can be told: that raised {type(another).__name__}"
        told = {"type": name}
        return Raised(  # noqa: ASYNC104
            code=HANDLER_ERROR, message=message, details=told, may_retry=True, retry_after=None
        )


def _code(error: BaseException) -> str:
    if isinstance(error, GiveUp | WorkFailed):  # WorkFailed: of a part that it had run elsewhere
        return str(error.code)
    return "memory_exceeded" if isinstance(error, MemoryError) else HANDLER_ERROR


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
    """What it says, as Unicode: the name of a file in it may be none. It may also fail to say anything."""
    try:
        said = str(error)
    except BaseException as another:  # noqa: ASYNC103
        if ctrl_c(another):
            raise
        said = f"(its text raised {type(another).__name__})"
    return said[:MOST_TEXT].encode("utf-8", "replace").decode()


def leaves(error: BaseException) -> list[BaseException]:
    """The errors that a group is made of, nested groups resolved; of any other error itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in leaves(part)]


def _place(file: str) -> str:
    """A source file as seen from where Python found it: whoever sees the error need not know the server's folders."""
    roots = [root for entry in sys.path if entry and file.startswith(root := entry.rstrip(os.sep) + os.sep)]
    return file[len(max(roots, key=len)) :] if roots else file.rpartition(os.sep)[2]


def described(error: BaseException) -> dict[str, Any]:
    """Type, message, where it was raised, the parts of a group and the cause, as JSON."""
    found: dict[str, Any] = {
        "type": type(error).__name__,
        "message": _text(error),
        "traceback": [
            f"{_place(frame.filename)}:{frame.lineno} in {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
        ][-MOST_FRAMES:],
    }
    if isinstance(error, BaseExceptionGroup):
        found["errors"] = [described(part) for part in error.exceptions[:MOST_PARTS]]
    if error.__cause__ is not None:
        found["cause"] = _one(error.__cause__)
    return found
