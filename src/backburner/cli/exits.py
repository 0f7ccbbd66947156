"""Exit codes, and how an error becomes one line and one of them."""

from __future__ import annotations

from enum import IntEnum

from backburner.errors import BackburnerError, Invalid
from backburner.profiles import ProfileError
from backburner.setting_fields import SettingError

_SHOWN_DETAILS = 20


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    ITEM_ERRORS = 4
    CANCELLED = 5
    TIMEOUT = 6
    INTERRUPTED = 130  # what shells report of a program ended by Ctrl-C


class CommandError(BackburnerError):
    """A command cannot do what it was asked to, for a reason of its own."""

    def __init__(self, message: str, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def only_cause(error: BaseException) -> BaseException:
    """The first of our own errors in a group of groups, else the first error; other errors come back as they are."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    causes = [only_cause(inner) for inner in error.exceptions]
    return next((cause for cause in causes if isinstance(cause, BackburnerError)), causes[0])


def exit_code(error: BackburnerError) -> Exit:
    if isinstance(error, SettingError | ProfileError | Invalid):  # raised here, not answered by a server
        return Exit.USAGE
    if isinstance(error, CommandError):
        return error.exit_code
    return Exit.NOT_FOUND if getattr(error, "status", None) == 404 else Exit.FAILED


def lines(error: BackburnerError) -> list[str]:
    """What to tell of an error: one line, and for an answer that lists what is wrong one for each of those."""
    first = " ".join(str(error).split()) or type(error).__name__
    request_id = getattr(error, "request_id", None)
    details = getattr(error, "details", None) or ()
    told = [f"  {_detail(detail)}" for detail in details[:_SHOWN_DETAILS]]
    if len(details) > _SHOWN_DETAILS:
        told.append(f"  … and {len(details) - _SHOWN_DETAILS:,} more")
    wish = getattr(error, "retry_after", None)
    if wish is not None:
        told.append(f"  Try again in {wish:,.0f} s.")
    return [f"Error: {first}" + (f" [{request_id}]" if request_id else ""), *told]


def job_exit(status: str, errors: int) -> Exit:
    """For a job that has ended, with so many items that did not succeed."""
    ended = {"failed": Exit.FAILED, "cancelled": Exit.CANCELLED, "expired": Exit.TIMEOUT}
    return ended.get(status, Exit.ITEM_ERRORS if errors else Exit.OK)


def _detail(detail: dict[str, object]) -> str:
    counted = next((name for name in ("line", "row") if name in detail), None)
    place = f"{counted} {detail[counted]}" if counted else f"requests[{detail.get('index', '?')}]"
    named = " ".join(f"{detail[name]}:" for name in ("custom_id", "param") if detail.get(name))
    return f"{place}: {named} {detail.get('message', '')}".replace(":  ", ": ")
