"""The account at the provider: what it was asked by whom, and what it made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import httpx2

from backburner.providers.sandbox.engine import Sandbox
from backburner.providers.sandbox.items import unpack
from backburner.providers.sandbox.transport import SandboxTransport
from simulation.network import Message


@attrs.define(eq=False)
class Account:
    """Serves one account's requests, and keeps the books that the product cannot see."""

    sandbox: Sandbox
    asked: Callable[[Message], None]  # a request arrives
    made: dict[str, list[str]] = attrs.field(factory=dict)  # by nonce, what was made
    on_made: Callable[[str], None] = lambda _: None
    _lines: dict[str, dict[str, str]] = attrs.field(factory=dict)
    _known: int = 0
    _transport: SandboxTransport = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._transport = SandboxTransport(self.sandbox)

    async def __call__(self, message: Message) -> httpx2.Response:
        self.asked(message)
        try:
            return await self._transport.handle_async_request(message.request)
        finally:
            self.look()

    def look(self) -> None:
        """Enter what was made since the last look."""
        for nonce, batch_id in made_after(self.sandbox, self._known):
            self._known += 1
            self.made.setdefault(nonce, []).append(batch_id)
            self.on_made(nonce)

    def indices(self, batch_id: str) -> list[int]:
        """The positions of the items that a batch was made of."""
        return [int(name.rpartition("-")[2]) for name in names_in(self.sandbox, batch_id)]

    def results(self, batch_id: str) -> dict[str, str]:
        """The results of an ended batch by wire id, verbatim."""
        found = self._lines.get(batch_id)
        if found is None:
            found = self._lines[batch_id] = results_of(self.sandbox, batch_id)
        return found


def made_after(sandbox: Sandbox, known: int) -> Iterator[tuple[str, str]]:
    """(nonce, id) of each batch that the provider has made since there were `known` of them."""
    service = sandbox._service
    for batch in service.register.all()[known:]:
        page = service._store.page(batch.sequence, 0)
        assert page is not None
        yield unpack(page)[0].custom_id.rpartition("-")[0], batch.id


def names_in(sandbox: Sandbox, batch_id: str) -> list[str]:
    """The wire ids of a batch's items."""
    service = sandbox._service
    batch = service.register.get(batch_id)
    assert batch is not None
    names: list[str] = []
    number = 0
    while (page := service._store.page(batch.sequence, number)) is not None:
        names += [item.custom_id for item in unpack(page)]
        number += 1
    return names


def results_of(sandbox: Sandbox, batch_id: str) -> dict[str, str]:
    """The provider's results of an ended batch by wire id, verbatim."""
    found = {}
    batch = sandbox._service.register.get(batch_id)
    assert batch is not None
    for chunk in sandbox._service.results(batch):
        for line in chunk.decode().rstrip("\n").split("\n"):
            custom_id, result = line.removeprefix('{"custom_id":"').split('","result":', 1)
            found[custom_id] = result.removesuffix("}")
    return found
