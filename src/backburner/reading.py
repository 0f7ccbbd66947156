"""What one pass over a provider batch's results has brought so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from backburner.commands import ResultPage, ResultRow
from backburner.model import ProviderBatch, Term, Usage
from backburner.result_lines import MISSING, UNKNOWN, UNREADABLE, Unreadable, decode, own_result, usage_of
from backburner.states import ItemStatus
from backburner.wire import wire_index, wire_mention

PAGE_ROWS = 1_000
PAGE_BYTES = 1024 * 1024


@attrs.define(kw_only=True, eq=False)
class Reading:
    """Takes lines, gives pages of new results, and knows in the end what is still owed. Memory: a byte an item."""

    batch: ProviderBatch
    term: Term
    #: Positions of the batch's items, in order; None: those from its first to its last index.
    members: Sequence[int] | None = None
    _places: Mapping[int, int] = attrs.field(init=False)  # where an item is noted
    _seen: bytearray = attrs.field(init=False)
    _rows: list[ResultRow] = attrs.field(factory=list, init=False)
    _usages: list[Usage] = attrs.field(factory=list, init=False)
    _size: int = attrs.field(default=0, init=False)
    #: Lines that were no result of this batch, by what was wrong with them.
    odd: Counter[str] = attrs.field(factory=Counter, init=False)
    matched: int = attrs.field(default=0, init=False)  # lines that carry the batch's nonce
    new: int = attrs.field(default=0, init=False)  # results that were not known before
    _unknown: set[int] = attrs.field(factory=set, init=False)
    _unreadable: set[int] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._seen = bytearray(self.batch.item_count)
        self._places = {index: place for place, index in enumerate(self.members or ())}

    def known(self, indices: Iterable[int]) -> None:
        """These items have their result already. Those of other batches are passed over."""
        for index in indices:
            if (place := self._place(index)) is not None:
                self._seen[place] = 1

    def _place(self, index: int) -> int | None:
        if self.members is not None:
            return self._places.get(index)
        return index - self.batch.first_index if self.batch.first_index <= index <= self.batch.last_index else None

    def take(self, line: bytes) -> None:
        """Read one line. One that is no good is counted and left for the verdict."""
        try:
            found = decode(line)
        except Unreadable:
            self.odd["unreadable"] += 1
            if (mentioned := wire_mention(self.batch.nonce, line)) is not None:
                self._unreadable.add(mentioned)
            return
        index = wire_index(self.batch.nonce, found.custom_id)
        place = None if index is None else self._place(index)
        if index is None or place is None:
            self.odd["foreign"] += 1
            return
        self.matched += 1
        if not found.is_known:
            self.odd["unknown"] += 1
            self._unknown.add(index)
            return
        if self._seen[place]:
            self.odd["repeated"] += 1  # the first one counts
            return
        self.new += 1
        self._add(index, place, found.status, found.result)
        if found.usage is not None:
            self._usages.append(found.usage)

    def _add(self, index: int, place: int, status: str, result: str) -> None:
        self._seen[place] = 1
        self._rows.append(ResultRow(index, status, result))
        self._size += len(result)

    @property
    def page_is_full(self) -> bool:
        return len(self._rows) >= PAGE_ROWS or self._size >= PAGE_BYTES

    def page(self) -> ResultPage | None:
        """The results gathered since the last page; None when there are none."""
        if not self._rows:
            return None
        page = ResultPage(
            term=self.term,
            batch_key=self.batch.key,
            job_key=self.batch.job_key,
            round=self.batch.round,
            of_agents=self.batch.of_agents,
            rows=tuple(self._rows),
            counts=Counter(row.status for row in self._rows),
            usage=total(self._usages),
            byte_size=self._size,
        )
        self._rows.clear()
        self._usages.clear()
        self._size = 0
        return page

    @property
    def is_complete(self) -> bool:
        return all(self._seen)

    @property
    def is_somebody_elses(self) -> bool:
        """Whether there were results and none of them was ours: the batch was adopted by mistake.

        Only a batch that was found, not one that the provider itself has named to us.
        """
        found = self.batch.create_response is None
        return found and self.matched == 0 and self.odd["foreign"] > 0 and not any(self._seen)

    def missing(self) -> int:
        """How many items have no result."""
        return self._seen.count(0)

    def substitutes(self) -> Iterator[ResultPage]:
        """Results of our own for the items that have none: after this the batch is complete."""
        for place, seen in enumerate(self._seen):
            if not seen:
                index = self.batch.first_index + place if self.members is None else self.members[place]
                result = own_result(ItemStatus.ERRORED, self._code(index))
                self._add(index, place, ItemStatus.ERRORED.value, result)
            if self.page_is_full and (page := self.page()):
                yield page
        if (page := self.page()) is not None:
            yield page

    def _code(self, index: int) -> str:
        if index in self._unknown:
            return UNKNOWN
        return UNREADABLE if index in self._unreadable else MISSING


def total(usages: Sequence[Usage]) -> Usage:
    """The sum."""
    return Usage(
        input_tokens=sum([usage.input_tokens for usage in usages]),
        output_tokens=sum([usage.output_tokens for usage in usages]),
        cache_creation_input_tokens=sum([usage.cache_creation_input_tokens for usage in usages]),
        cache_read_input_tokens=sum([usage.cache_read_input_tokens for usage in usages]),
    )


def narrowed(page: ResultPage, rows: Sequence[ResultRow]) -> ResultPage:
    """The page with only some of its rows; counts and usage are those rows'."""
    usages = [usage for row in rows if (usage := usage_of(row.result)) is not None]
    return attrs.evolve(page, rows=tuple(rows), counts=Counter(row.status for row in rows), usage=total(usages))
