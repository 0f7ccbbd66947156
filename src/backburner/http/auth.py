"""Who is asking: the key in a request, looked up and remembered for a moment."""

from __future__ import annotations

from collections import OrderedDict

import attrs
from werkzeug.datastructures import Headers

from backburner.api_keys import hash_key
from backburner.clock import Clock
from backburner.http.limiter import Limiter, RateLimits
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
    limiter: Limiter = attrs.field(
        default=attrs.Factory(lambda ring: Limiter(ring.clock, RateLimits()), takes_self=True)
    )
    _known: OrderedDict[str, tuple[Principal, float]] = attrs.field(factory=OrderedDict, init=False)

    async def principal(self, headers: Headers, address: str | None = None) -> Principal:
        """Raises Refused: 401 without a key that is valid, 429 when too many such came from `address`.

        Of two different keys the first that is valid counts.
        Every key is looked up alike by the hash of the whole, malformed or not: how long an answer takes tells nothing.
        """
        keys = presented_keys(headers)
        if not keys:
            raise _unauthenticated("Give an API key as `Authorization: Bearer bb_…` or `x-api-key: bb_…`.")
        hashes = [hash_key(key) for key in keys]
        found = next(filter(None, map(self._remembered, hashes)), None)
        for key_hash in hashes:
            found = found or await self._found(key_hash, address)
        if found is None:
            raise _unauthenticated("The API key is unknown, expired or revoked.")
        return found

    async def _found(self, key_hash: str, address: str | None) -> Principal | None:
        if key_hash not in self._known:  # one that was good lately is not held up by what others behind its address do
            self.limiter.may_fail(address)
        return await self._look_up(key_hash, address)

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

    async def _look_up(self, key_hash: str, address: str | None) -> Principal | None:
        asked = self.clock.monotonic()
        principal = await self.database.read(principal_of, key_hash, now=self.clock.now())
        if principal is None:
            self._known.pop(key_hash, None)
            self.limiter.failed(address)
            return None
        self._known[key_hash] = (principal, asked + REMEMBERED_SECONDS)
        self._known.move_to_end(key_hash)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return principal


def presented_keys(headers: Headers) -> list[str]:
    """The keys that a request brings, each once. A bearer token goes before `x-api-key`."""
    scheme, _, token = headers.get("Authorization", "").strip().partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return list(filter(None, dict.fromkeys((bearer, headers.get("x-api-key", "").strip()))))


def _unauthenticated(message: str) -> Refused:
    return Refused(401, "unauthenticated", message, headers={"WWW-Authenticate": "Bearer"})
