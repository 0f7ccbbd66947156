"""Who is asking: the key in a request, looked up and remembered for a moment."""

from __future__ import annotations

from collections import OrderedDict

import attrs
from werkzeug.datastructures import Headers

from backburner.api_keys import hash_key
from backburner.clock import Clock
from backburner.http.problem import Refused
from backburner.model import Principal
from backburner.storage.accounts import principal_of
from backburner.storage.database import Database

REMEMBERED = 1024  # keys
#: How long a key is taken as it was found; so long another instance may still honour one that was revoked.
REMEMBERED_SECONDS = 5.0


@attrs.define(eq=False)
class KeyRing:
    """Knows the principals of keys that were used lately, so that most requests cost no query for them."""

    database: Database
    clock: Clock
    _known: OrderedDict[str, tuple[Principal, float]] = attrs.field(factory=OrderedDict, init=False)

    async def principal(self, headers: Headers) -> Principal:
        """Raises Refused (401) without a key that is valid."""
        key = presented_key(headers)
        if key is None:
            raise _unauthenticated("Give an API key as `Authorization: Bearer bb_…` or `x-api-key: bb_…`.")
        key_hash = hash_key(key)
        return self._remembered(key_hash) or await self._look_up(key_hash)

    def forget(self, key_id: str) -> None:
        """A key was revoked."""
        for key_hash in [known for known, (principal, _) in self._known.items() if principal.key_id == key_id]:
            del self._known[key_hash]

    def _remembered(self, key_hash: str) -> Principal | None:
        principal, until = self._known.get(key_hash, (None, 0.0))
        if self.clock.monotonic() >= until:
            return None
        self._known.move_to_end(key_hash)
        return principal

    async def _look_up(self, key_hash: str) -> Principal:
        asked = self.clock.monotonic()
        principal = await self.database.read(principal_of, key_hash, now=self.clock.now())
        if principal is None:
            self._known.pop(key_hash, None)
            raise _unauthenticated("The API key is unknown, expired or revoked.")
        self._known[key_hash] = (principal, asked + REMEMBERED_SECONDS)
        self._known.move_to_end(key_hash)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return principal


def presented_key(headers: Headers) -> str | None:
    """The key that a request brings, if any. A bearer token goes before `x-api-key`."""
    scheme, _, token = headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key", "").strip() or None


def _unauthenticated(message: str) -> Refused:
    return Refused(401, "unauthenticated", message, headers={"WWW-Authenticate": "Bearer"})
