"""Reading the results of one of Anthropic's batches, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import httpx2
import structlog

from backburner.errors import ProviderUnavailable, ResultsBroken, ResultsGone
from backburner.providers.anthropic_errors import Answer, NoAnswer, results_error, unreadable_answer
from backburner.providers.anthropic_objects import Unreadable, results_url
from backburner.providers.base import MEBIBYTE, BatchView
from backburner.result_lines import TooDeep, decode
from backburner.result_lines import Unreadable as UnreadableLine
from backburner.streams import LineSplitter

if TYPE_CHECKING:
    from backburner.providers.anthropic_calls import Download

log = structlog.get_logger()

MAX_LINE_BYTES = 64 * MEBIBYTE


@attrs.define(kw_only=True)
class DownloadedLines:
    """Implements `ResultLines`. A line above `MAX_LINE_BYTES` is left out and logged.

    Its item then shows up as missing, while giving up the whole stream would lose every item behind it as well, on
    every attempt.
    """

    download: Download
    provider_batch_id: str
    _splitter: LineSplitter = attrs.field(factory=lambda: LineSplitter(max_line_bytes=MAX_LINE_BYTES), init=False)
    _ended: bool = attrs.field(default=False, init=False)

    async def next_lines(self) -> list[bytes]:
        while not self._ended:
            if lines := self._split(await self._next_chunk()):
                return lines
        return []

    async def _next_chunk(self) -> bytes | None:
        try:
            return await self.download.next_chunk()
        except NoAnswer as lost:
            raise ResultsBroken(str(lost), code="results_broken") from lost

    def _split(self, chunk: bytes | None) -> list[bytes]:
        self._ended = chunk is None
        found = self._splitter.finish() if chunk is None else self._splitter.feed(chunk)
        lines = [line for _, line in found if line is not None]
        if len(lines) < len(found):
            log.warning("result line too long", provider_batch_id=self.provider_batch_id)
        return _whole(lines) if chunk is None else lines


def _whole(last: list[bytes]) -> list[bytes]:
    """The last line, which had no line end. Raises ResultsBroken when the end of the stream cut it."""
    for line in last:
        try:
            decode(line)
        except TooDeep:
            pass  # whether it is whole or not: it will never be read
        except UnreadableLine as error:
            raise ResultsBroken("The results end inside a line.", code="results_broken") from error
    return last


def own_results_url(view: BatchView, base_url: httpx2.URL) -> str | None:
    """Where the provider says that the results are; None when that is elsewhere than the base URL leads.

    The key goes nowhere but to the base URL's scheme, host and port. A gateway passes the provider's own address on.
    Raises ResultsGone, and ProviderUnavailable while there is no address.
    """
    if view.results_gone:
        raise ResultsGone("The provider no longer keeps these results.", code="results_archived")
    given = results_url(view.raw)
    if not given:
        raise ProviderUnavailable("The provider does not name the results' address yet.", code="results_not_ready")
    if not _leads_home(given, base_url):
        log.info("results are read at the base URL, not where they are said to be", batch=view.provider_batch_id)
        return None
    return given


def require_lines(answer: Answer) -> None:
    """Raise unless this is the beginning of a stream of results."""
    if not answer.is_success:
        raise results_error(answer)
    if answer.headers.get("content-type", "").startswith("text/html"):
        raise unreadable_answer(answer, Unreadable("a web page where results should be"))


def _leads_home(given: str, base_url: httpx2.URL) -> bool:
    try:
        url = httpx2.URL(given)
    except httpx2.InvalidURL:
        return False
    if url.is_relative_url:
        return not (url.scheme or url.host)
    return not url.userinfo and (url.scheme, url.host, url.port) == (base_url.scheme, base_url.host, base_url.port)
