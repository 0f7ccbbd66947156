"""The one place that says which error an answer, or its absence, is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from backburner.backoff import retry_after
from backburner.errors import (
    BatchNotFound,
    ProviderError,
    ProviderPaused,
    ProviderUnavailable,
    ResultsGone,
    SubmissionInterrupted,
    SubmissionRefused,
    SubmissionTooLarge,
    SubmissionUnknown,
)

MAX_MESSAGE_CHARACTERS = 300

#: Nothing is made and nothing heals by itself: key, billing, permission, proxy log-in.
PAUSING_STATUSES = frozenset({401, 402, 403, 407})
#: For the collection itself: the base URL does not lead to a batch API.
WRONG_ADDRESS_STATUSES = frozenset({404, 405})
#: Refusals that the documentation takes back: they may come from something that gave up waiting for the real answer.
AMBIGUOUS_STATUSES = frozenset({408, 409, 425, 499})
BUSY_STATUSES = frozenset({429, 529})

PAUSING_CODES = frozenset({"enforced_spend_limit_reached", "contract_spend_limit_reached", "organization_on_hold"})
#: Refusals for want of money that have no code of their own.
PAUSING_PHRASES = ("spend limit you set", "specified api usage limits", "credit balance is too low")


class NoAnswer(Exception):
    """A call had no answer, or only a part of one. `unsent` when no request can have reached the provider."""

    def __init__(self, reason: str, *, unsent: bool = False, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.unsent = unsent
        self.timed_out = timed_out


@attrs.frozen(kw_only=True)
class Answer:
    """An HTTP response, whatever its status."""

    status: int
    headers: Mapping[str, str]  # keys in any case
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


@attrs.frozen(kw_only=True)
class Complaint:
    """What an unsuccessful answer says."""

    status: int
    kind: str | None  # `error.type`
    code: str | None  # `error.details.error_code`
    message: str
    retry_after: float | None

    @property
    def is_pausing(self) -> bool:
        if self.status in PAUSING_STATUSES or self.code in PAUSING_CODES:
            return True
        return self.status in {400, 429} and any(phrase in self.message.lower() for phrase in PAUSING_PHRASES)

    def error(self, kind: type[ProviderError]) -> ProviderError:
        """The error of that class; ProviderUnavailable also carries the provider's wish."""
        text = f"HTTP {self.status}{f' {self.kind}' if self.kind else ''}: {self.message}"
        code = self.code or self.kind
        if issubclass(kind, ProviderUnavailable):
            return kind(text, status=self.status, code=code, retry_after=self.retry_after)
        return kind(text, status=self.status, code=code)


def read_complaint(answer: Answer) -> Complaint:
    """Read the error envelope, if there is one; a proxy's page has none."""
    body = _json_or_none(answer.body)
    message = _text(_dig(body, "error", "message")) or "no reason given"
    return Complaint(
        status=answer.status,
        kind=_text(_dig(body, "error", "type")),
        code=_text(_dig(body, "error", "details", "error_code")),
        message=message[:MAX_MESSAGE_CHARACTERS],
        retry_after=retry_after(answer.headers),
    )


def submission_error(answer: Answer) -> ProviderError:
    """What an unsuccessful answer to a submission means; never a class that claims more than is certain."""
    complaint = read_complaint(answer)
    status = complaint.status
    if complaint.is_pausing or status in WRONG_ADDRESS_STATUSES:
        return complaint.error(ProviderPaused)
    if status in BUSY_STATUSES:
        return complaint.error(ProviderUnavailable)
    if status == 413 or complaint.kind == "request_too_large":
        return complaint.error(SubmissionTooLarge)
    if 400 <= status < 500 and status not in AMBIGUOUS_STATUSES:
        return complaint.error(SubmissionRefused)
    return complaint.error(SubmissionUnknown)


def batch_error(answer: Answer) -> ProviderError:
    """What an unsuccessful answer to a question about one batch means."""
    return _question_error(answer, {404: BatchNotFound, 410: ResultsGone, 405: ProviderPaused})


def results_error(answer: Answer) -> ProviderError:
    """What an unsuccessful answer to reading one batch's results means."""
    return _question_error(answer, {404: BatchNotFound, 410: ResultsGone})


def listing_error(answer: Answer) -> ProviderError:
    """What an unsuccessful answer to the listing means."""
    return _question_error(answer, dict.fromkeys(WRONG_ADDRESS_STATUSES, ProviderPaused))


def lost_submission(lost: NoAnswer, *, body_sent: bool) -> ProviderError:
    """What a missing answer to a submission means.

    A body whose last piece was never handed to the network is not valid JSON at the other end: nothing was made.
    A connection cut within the body is mostly an accident, and how some front ends say "too large".
    """
    if lost.unsent or (not body_sent and lost.timed_out):
        return lost_call(lost)
    if body_sent:
        return SubmissionUnknown(str(lost), code="no_answer")
    return SubmissionInterrupted(
        f"The connection broke while the body was being sent: {lost}", code="upload_interrupted"
    )


def lost_call(lost: NoAnswer) -> ProviderUnavailable:
    """What a missing answer to any other call means."""
    return ProviderUnavailable(str(lost), code="no_answer")


def unreadable_answer(answer: Answer, reason: Exception) -> ProviderUnavailable:
    """A success whose body is not what was asked for."""
    text = f"HTTP {answer.status} with an unreadable body: {reason}"
    return ProviderUnavailable(text, status=answer.status, code="unreadable_answer")


def unreadable_submission(answer: Answer, reason: Exception) -> SubmissionUnknown:
    """A success that does not name the batch that it made."""
    text = f"HTTP {answer.status} with an unreadable body: {reason}"
    return SubmissionUnknown(text, status=answer.status, code="unreadable_answer")


def _question_error(answer: Answer, special: Mapping[int, type[ProviderError]]) -> ProviderError:
    complaint = read_complaint(answer)
    if complaint.is_pausing:
        return complaint.error(ProviderPaused)
    return complaint.error(special.get(answer.status, ProviderUnavailable))


def _json_or_none(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None


def _dig(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str | None:
    # PostgreSQL's texts hold no NUL, and these are kept there.
    return value.replace("\x00", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else None
