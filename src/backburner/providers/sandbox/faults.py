"""What shall go wrong, and when: rules that can be written in one line, and repeat exactly.

    ENDPOINT:FAULT[=ARGUMENT][@WHEN][xCOUNT][#BATCH][:HEADER[=VALUE]]

    create:lost_response@1          the first create is carried out, its answer is lost
    retrieve:429=7@3-5              calls 3, 4 and 5 are told to wait 7 seconds
    list:529@every4                 every fourth call
    results:drop=2@p0.5x3           one call in two by chance, three times at most
    status:never_ends#2             the second batch seems to run for ever, retrieved or listed
    create:cut_body=1000000         a body of more than a megabyte is cut off by a reset
    *:403:anthropic-beta=new        whoever sends that header with that value is refused

ENDPOINT is create, retrieve, list, cancel, delete, results, status (retrieve and list) or * (all). Calls are counted
for each rule from the moment it was added.
BATCH is an id or the number of the batch in the order of making. With a HEADER only requests that have it are meant,
with a VALUE only those where it has that value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from types import MappingProxyType

import attrs

from backburner.providers.sandbox import fault_answers, fault_lines, fault_streams, fault_views

ENDPOINTS = ("create", "retrieve", "list", "cancel", "delete", "results", "status", "*")
NAMES = tuple(
    sorted(
        fault_answers.ANSWERS.keys()
        | fault_streams.BREAKS.keys()
        | {fault_streams.CUT_BODY}
        | fault_streams.STREAMS.keys()
        | fault_views.VIEWS.keys()
        | fault_views.PAGES.keys()
        | fault_lines.LINES.keys()
    )
)
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
#: Whose argument is a whole number, and whose are seconds.
_COUNTS = fault_lines.LINES.keys() | {"drip", "hide_newest", "odd_counts", fault_streams.CUT_BODY}
_SECONDS = frozenset({"429_date", "skew", "slow_headers"})
FORM = "ENDPOINT:FAULT[=ARGUMENT][@WHEN][xCOUNT][#BATCH][:HEADER[=VALUE]]"
_RULE = re.compile(
    r"(?P<endpoint>[a-z*]+):(?P<fault>[a-z0-9_]+?)(?:=(?P<argument>[^@#]*?))?"
    r"(?:@(?P<when>every[1-9][0-9]*|p(?:[01]|[01]?\.[0-9]+)|[0-9]+(?:-[0-9]*)?))?(?:x(?P<count>[0-9]+))?(?:#(?P<batch>[A-Za-z0-9_]+))?"
    r"(?::(?P<header>[a-z][a-z0-9-]*)(?:=(?P<value>.+))?)?"
)


@attrs.frozen(kw_only=True)
class FaultRule:
    """One thing that goes wrong. Without a `when` it goes wrong in every call that it is meant for."""

    endpoint: str
    fault: str
    argument: str | None = None
    when: str | None = None
    count: int | None = None
    batch: str | None = None
    header: str | None = None  # in lower case
    value: str | None = None  # of the header; None: any

    def covers(self, endpoint: str) -> bool:
        return self.endpoint in ("*", endpoint) or (self.endpoint == "status" and endpoint in ("retrieve", "list"))

    def means(self, sequence: int, batch_id: str) -> bool:
        return self.batch is None or self.batch in (batch_id, str(sequence))

    def is_for(self, headers: Mapping[str, str]) -> bool:
        """Whether requests with these headers are meant."""
        return self.header is None or (self.header in headers and self.value in (None, headers[self.header]))


def parse_fault(text: str) -> FaultRule:
    """A rule from its line. Raises ValueError that says what is wrong."""
    match = _RULE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not of the form {FORM}")
    if match["endpoint"] not in ENDPOINTS:
        raise ValueError(f"unknown endpoint {match['endpoint']!r} in {text!r}; known are {', '.join(ENDPOINTS)}")
    if match["fault"] not in NAMES:
        raise ValueError(f"unknown fault {match['fault']!r} in {text!r}; known are {', '.join(NAMES)}")
    if not _fits(match["fault"], match["argument"]):
        raise ValueError(f"{match['argument']!r} in {text!r} is not what {match['fault']!r} takes: a number")
    count = None if match["count"] is None else int(match["count"])
    return FaultRule(
        endpoint=match["endpoint"],
        fault=match["fault"],
        argument=match["argument"],
        when=match["when"],
        count=count,
        batch=match["batch"],
        header=match["header"],
        value=match["value"],
    )


def _fits(fault: str, argument: str | None) -> bool:
    if argument is None or fault not in _COUNTS | _SECONDS:
        return True
    return re.fullmatch(r"[0-9]+" if fault in _COUNTS else r"-?[0-9]+(\.[0-9]+)?", argument) is not None


@attrs.define
class _Armed:
    """A rule with its memory."""

    rule: FaultRule
    random: Random
    calls: int = 0
    fired: int = 0

    def fires(self) -> bool:
        """Count one call that the rule is meant for."""
        self.calls += 1
        if self.rule.count is not None and self.fired >= self.rule.count:
            return False
        fires = _is_due(self.rule.when, self.calls, self.random)
        self.fired += fires
        return fires


def _is_due(when: str | None, call: int, random: Random) -> bool:
    if when is None:
        return True
    if when.startswith("every"):
        return call % int(when[5:]) == 0
    if when.startswith("p"):
        return random.random() < float(when[1:])
    first, dash, last = when.partition("-")
    return int(first) <= call <= int(last or (1e18 if dash else first))


class Faults:
    """The rules of one sandbox. They may be changed while it runs."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._armed: list[_Armed] = []

    def add(self, rule: FaultRule | str) -> FaultRule:
        """From now on this goes wrong too."""
        rule = parse_fault(rule) if isinstance(rule, str) else rule
        self._armed.append(_Armed(rule, Random(f"{self._seed} {len(self._armed)} {rule}")))  # noqa: S311
        return rule

    def remove(self, rule: FaultRule) -> None:
        self._armed = [armed for armed in self._armed if armed.rule != rule]

    def clear(self) -> None:
        self._armed.clear()

    def fire(
        self, endpoint: str, sequence: int, batch_id: str, headers: Mapping[str, str] = _NO_HEADERS
    ) -> list[FaultRule]:
        """What goes wrong in this call. A listing is meant by rules for any batch."""
        return [
            armed.rule
            for armed in self._armed
            if armed.rule.covers(endpoint)
            and armed.rule.is_for(headers)
            and (endpoint == "list" or armed.rule.means(sequence, batch_id))
            and armed.fires()
        ]
