"""Why something waits: the problem that is kept with a provider batch, and the hold that its job shows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import attrs

from backburner.errors import BatchNotFound, ProviderError
from backburner.states import BatchStatus
from backburner.times import rfc3339

#: A wait that is shorter is nobody's business: most of what fails succeeds at the next attempt.
WORTH_A_WORD = timedelta(minutes=1)

NOT_FOUND = "not_found"
UNRECOGNISED = "not_recognised"


class HoldCode(StrEnum):
    """What a job can be held by. Of several the first in this order is shown."""

    POLLING_PAUSED = "polling_paused"  # by hand
    PROVIDER_ABSENT = "provider_absent"  # the provider is not configured here any more
    SUBMISSION_QUARANTINED = "submission_quarantined"  # what a submission made, only a person can tell
    BATCH_NOT_FOUND = "batch_not_found"  # the provider answers 404 for what it has made
    OPTIONS_REFUSED = "options_refused"  # the provider does not take its workspace, betas or user profile
    ACCOUNT_PAUSED = "account_paused"  # key, permission or billing: a person has to act
    SUBMISSION_UNKNOWN = "submission_unknown"  # the answer to a submission was lost; it is looked for
    RESULTS_UNAVAILABLE = "results_unavailable"  # the batch has ended, and its results cannot be read
    BATCH_UNRECOGNISED = "batch_unrecognised"  # what may be another's is not cancelled; its end is waited for
    PROVIDER_UNAVAILABLE = "provider_unavailable"  # it cannot be asked about a batch
    ACCOUNT_WAITING = "account_waiting"  # submissions are turned away for a while
    RETRY_WAITING = "retry_waiting"  # a handler has failed and is tried again later


_ORDER: list[str] = list(HoldCode)


@attrs.frozen
class Hold:
    """Why a job waits, and since when."""

    code: str  #: a HoldCode; another one where a newer server has written it
    since: datetime
    message: str

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "since": rfc3339(self.since), "message": self.message}

    @classmethod
    def of_json(cls, kept: Any) -> Hold | None:
        return (
            None if kept is None else cls(_code(kept["code"]), datetime.fromisoformat(kept["since"]), kept["message"])
        )

    def is_worth_a_word(self, now: datetime) -> bool:
        return now - self.since >= WORTH_A_WORD


def _code(text: str) -> str:
    try:
        return HoldCode(text)
    except ValueError:  # of a newer server on the same database
        return text


def problem_of(error: ProviderError, before: Any, now: datetime) -> dict[str, Any]:
    """A provider's error as it is kept with a batch; `since` is when this kind of failure began."""
    code = NOT_FOUND if isinstance(error, BatchNotFound) else error.code or "provider_error"
    return {"code": code, "message": str(error), "status": error.status, "since": _since(code, before, now)}


def problem(code: str, message: str, before: Any, now: datetime, **more: Any) -> dict[str, Any]:
    """Another reason to look again later, kept in the same way."""
    return {"code": code, "message": message, **more, "since": _since(code, before, now)}


def _since(code: str, before: Any, now: datetime) -> str:
    same = isinstance(before, dict) and before.get("code") == code
    return str(before.get("since") or rfc3339(now)) if same else rfc3339(now)


#: What holds a job whose batch has not been sent, by the code of its problem. For any other: the account makes it wait.
UNSENT: dict[str, HoldCode] = {HoldCode.OPTIONS_REFUSED: HoldCode.OPTIONS_REFUSED}


@attrs.frozen
class Waiting:
    """An open provider batch that has a problem, as far as it matters here."""

    batch_id: str
    status: BatchStatus
    problem: Any
    intent_at: datetime | None
    not_found_since: datetime | None

    def hold(self) -> Hold | None:
        """What its job is held by. None for a problem that nobody has dated, so that it cannot be an old one."""
        found = self.problem if isinstance(self.problem, dict) else {}
        since = self.intent_at if self.status in _UNSETTLED else self.not_found_since or _moment(found.get("since"))
        if since is None:
            return None
        code = self._code(str(found.get("code")))
        message = _MESSAGES.get(code, "{0} waits. {1}").format(self.batch_id, found.get("message", ""))
        return Hold(code, since, message.strip())

    def _code(self, problem: str) -> HoldCode:
        if self.status in _UNSETTLED:
            return _UNSETTLED[self.status]
        if self.not_found_since is not None:
            return HoldCode.BATCH_NOT_FOUND
        if self.status is BatchStatus.PLANNED:
            return UNSENT.get(problem, HoldCode.ACCOUNT_WAITING)
        if self.status is BatchStatus.ENDED:
            return HoldCode.RESULTS_UNAVAILABLE
        return HoldCode.BATCH_UNRECOGNISED if problem == UNRECOGNISED else HoldCode.PROVIDER_UNAVAILABLE


_UNSETTLED = {
    BatchStatus.UNKNOWN: HoldCode.SUBMISSION_UNKNOWN,
    BatchStatus.QUARANTINED: HoldCode.SUBMISSION_QUARANTINED,
}
_MESSAGES = {
    HoldCode.OPTIONS_REFUSED: "The provider refuses {0} with the workspace, betas or user profile asked for. {1}",
    HoldCode.SUBMISSION_QUARANTINED: "What the submission of {0} made is not known; an operator has to decide.",
    HoldCode.SUBMISSION_UNKNOWN: "The answer to the submission of {0} was lost; its batch is being looked for.",
    HoldCode.BATCH_NOT_FOUND: "The provider does not know {0} at the moment; it is asked again. {1}",
    HoldCode.RESULTS_UNAVAILABLE: "{0} has ended, and its results cannot be read yet. {1}",
    HoldCode.BATCH_UNRECOGNISED: "{0} may be another program's batch, so it is not cancelled; its results will tell.",
    HoldCode.PROVIDER_UNAVAILABLE: "The provider cannot be asked about {0}. {1}",
    HoldCode.ACCOUNT_WAITING: "{0} was turned away and is sent again later. {1}",
}


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def worst(holds: Iterable[Hold], now: datetime) -> Hold | None:
    """What a job shows of all that holds it: what is worth a word and comes first in `HoldCode`, the oldest of it."""
    lasting = [hold for hold in holds if hold.is_worth_a_word(now)]
    return min(lasting, key=lambda hold: (_ORDER.index(hold.code), hold.since), default=None)
