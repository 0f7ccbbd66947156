"""A provider that takes not every batch; what it takes goes to the sandbox behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from tests.world import World

from backburner.errors import ProviderError, SubmissionRefused
from backburner.providers.base import BatchView, Provider, WireRequest

BAD = "[bad]"

#: Of each submission, how many requests it had, and whether it was let through.
Log = list[tuple[int, bool]]

Judge = Callable[[Sequence[WireRequest], Mapping[str, str]], ProviderError | None]


@attrs.define(eq=False)
class Picky:
    """Asks `judge` before each submission, and raises what it says."""

    inner: Provider
    judge: Judge
    log: Log

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def submit(
        self, requests: Sequence[WireRequest], options: Mapping[str, str], check: Callable[[], None] = lambda: None
    ) -> BatchView:
        error = self.judge(requests, options)
        self.log.append((len(requests), error is None))
        if error is not None:
            raise error
        return await self.inner.submit(requests, options, check)


def make_picky(world: World, judge: Judge) -> Log:
    """The provider of a world's instances becomes picky. Returns the log of all its submissions."""
    log: Log = []
    world.tamper = lambda provider: Picky(provider, judge, log)
    return log


def bad_items(words: str = "HTTP 400 invalid_request_error: {place}no") -> Judge:
    """Refuses a batch with marked requests; `{place}` in the words names the first of them, `{mark}` the request."""

    def judge(requests: Sequence[WireRequest], options: Mapping[str, str]) -> ProviderError | None:
        bad = [place for place, request in enumerate(requests) if BAD.encode() in request.params]
        if not bad:
            return None
        said = words.format(place=f"requests.{bad[0]}.params: ", mark=requests[bad[0]].custom_id)
        return SubmissionRefused(said, status=400, code="invalid_request_error")

    return judge
