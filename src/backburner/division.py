"""How a batch that the provider does not take whole is divided: to find the items that it refuses, or to get through.

What is known so far is kept with the rows of the parts, so that another term goes on where this one stopped.
"""

from __future__ import annotations

import re
from typing import Any

import attrs
import msgspec

#: Calls that may be refused for one batch, as a multiple of the halvings that lead to one item.
REFUSALS_PER_HALVING = 4
SMALLEST_PROBED = 4  # items; in a smaller batch every item is soon alone anyway
RESETS = 3  # uploads of one size that break off before less is tried
WAIT_SECONDS = 60.0  # for what tells more about the case, before a part goes on without it

_INDEX = re.compile(r"\brequests(?:\.|\[)([0-9]{1,6})\b")


class Case(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the provider has said so far about a batch that it refused."""

    items: int
    refused: int = 0  #: calls
    words: tuple[str | None, str | None] = (None, None)  #: with which each half of the first cut was refused
    probed: tuple[bool, bool] = (False, False)  #: whether one item of each half was refused alone with these words

    @property
    def is_spent(self) -> bool:
        """Whether no more refusals are risked."""
        return self.refused >= most_refusals(self.items)


class Division(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a provider batch is a part of, and what is known of it. The default: it is whole."""

    root: int | None = None  #: key of the batch whose parts these are
    case: Case | None = None  #: with the root alone
    half: int | None = None  #: 0 or 1: it is this half of the first cut
    probe: int | None = None  #: it is one item of this half
    words: str | None = None  #: it was refused with these: it is divided, and not sent again
    resets: int = 0  #: uploads of this size in a row that broke off
    trial: int = 0  #: how many of the items are tried next, when no more are risked; 0: half of them
    rest: int | None = None  #: it is such a trial: key of the batch that waits for what becomes of it

    @classmethod
    def of(cls, kept: Any) -> Division:
        """From what is kept with a row."""
        return WHOLE if kept is None else msgspec.convert(kept, cls)

    def as_json(self) -> Any:
        """To be kept with a row."""
        return None if self == WHOLE else msgspec.to_builtins(self)


WHOLE = Division()


@attrs.frozen(kw_only=True)
class Refusal:
    """Why the provider refused a batch."""

    words: str
    position: int | None  #: of the request that is named in it


def refusal_of(message: str, items: int) -> Refusal:
    """What a refusal of a batch of so many items says. A position outside the batch means something else."""
    found = _INDEX.search(message)
    position = None if found is None else int(found[1])
    return Refusal(words=message, position=position if position is not None and position < items else None)


def halvings(items: int) -> int:
    """How often a batch is halved until every item is alone."""
    return (items - 1).bit_length()


def most_refusals(items: int) -> int:
    """How many calls for one batch may be refused; what is not decided by then stays undecided."""
    return REFUSALS_PER_HALVING * halvings(items)


# --- what follows from a refusal ---------------------------------------------------------------------------


@attrs.frozen
class RefuseItem:
    """The part is a single item, and the provider does not take it. Of the others none is sent if the case is spent."""

    is_last: bool


@attrs.frozen
class Cut:
    """The part is divided before these positions. With `is_first` the parts are the halves of the case."""

    before: tuple[int, ...]
    is_first: bool = False


@attrs.frozen
class Await:
    """What becomes of the other half tells whether it is worth while to divide this one."""


@attrs.frozen
class Probe:
    """Both halves were refused with the same words: one item of each is sent alone."""


@attrs.frozen
class RefuseAll:
    """Nothing that is left will be sent: the provider refuses all of it, or, if not isolated, it was asked enough."""

    is_isolated: bool


Step = RefuseItem | Cut | Await | Probe | RefuseAll


def after_refusal(
    case: Case, part: Division, *, items: int, refusal: Refusal, other_is_open: bool
) -> tuple[Case, Step]:
    """What is known then, and what to do with a part of so many items.

    `other_is_open`: the other half of the first cut, if this is one, has not been answered yet.
    """
    case = msgspec.structs.replace(case, refused=case.refused + 1)
    if items == 1:
        return _after_single(case, part, refusal)
    if case.is_spent:
        return case, RefuseAll(is_isolated=False)
    if refusal.position is not None:
        at = refusal.position
        return case, Cut(tuple(sorted({at, at + 1} - {0, items})))
    if part.half is not None and case.items >= SMALLEST_PROBED:
        return _after_half(case, part.half, items, refusal, other_is_open=other_is_open)
    return case, Cut((items // 2,), is_first=case.refused == 1)


def _after_single(case: Case, part: Division, refusal: Refusal) -> tuple[Case, Step]:
    if part.probe is None or refusal.words != case.words[part.probe]:
        return case, RefuseItem(is_last=case.is_spent)
    case = msgspec.structs.replace(case, probed=_with(case.probed, part.probe, value=True))
    return case, RefuseAll(is_isolated=True) if all(case.probed) else RefuseItem(is_last=case.is_spent)


def _after_half(case: Case, half: int, items: int, refusal: Refusal, *, other_is_open: bool) -> tuple[Case, Step]:
    case = msgspec.structs.replace(case, words=_with(case.words, half, value=refusal.words))
    if case.words[0] == case.words[1]:
        return case, Probe()
    return case, Await() if other_is_open else Cut((items // 2,))


def _with(pair: tuple[Any, Any], place: int, *, value: Any) -> tuple[Any, Any]:
    return (value, pair[1]) if place == 0 else (pair[0], value)


# --- what follows from an upload that broke off ------------------------------------------------------------


@attrs.frozen
class SendAgain:
    """The same once more, later."""

    division: Division


@attrs.frozen
class Try:
    """So many items are tried alone; the rest waits."""

    items: int


@attrs.frozen
class Rejoin:
    """Less does not get through either, so it is the network: the trial and the rest are one again, and wait."""

    rest: int
    trial: int  #: how many items are tried the next time


Interrupted = SendAgain | Try | Rejoin


def after_reset(part: Division, *, items: int) -> Interrupted:
    """What to do with a part of so many items after one more upload of it broke off.

    Some front ends cut the connection when a body is too large. Mostly it is the network, and a batch in pieces is
    then no better off.
    """
    if part.rest is not None:
        return Rejoin(rest=part.rest, trial=items // 2)
    resets = part.resets + 1
    if resets < RESETS or items == 1:
        return SendAgain(msgspec.structs.replace(part, resets=resets))
    return Try(part.trial if 0 < part.trial < items else items // 2)
