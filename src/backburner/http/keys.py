"""API keys, their users, and the secret that signs webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from quart import Response

from backburner import signing
from backburner.api_keys import hash_key, new_key, shown_prefix
from backburner.errors import Invalid
from backburner.http import paging
from backburner.http.call import Call, answer_of, reply
from backburner.http.paging import Page, envelope, require_id
from backburner.http.shapes import key_json, user_json
from backburner.storage import accounts

KEYS_QUERY = paging.parameters("key")
USERS_QUERY = paging.parameters("user")
_SECRET = {"Cache-Control": "no-store"}


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """A key about to be made."""

    user_id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    scopes: Annotated[list[Literal["read", "write", "admin"]], msgspec.Meta(min_length=1, max_length=3)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


async def create_key(call: Call) -> Response:
    """201; the secret is in this answer and nowhere else."""
    call.query()
    asked = await call.json(NewKey)
    services, secret = call.services, new_key()
    made = await call.write(
        lambda key: answer_of(key_json(key), 201, _SECRET),
        accounts.create_key,
        user_id=asked.user_id,
        key_hash=hash_key(secret),
        prefix=shown_prefix(secret),
        scopes=sorted(set(asked.scopes)),
        name=asked.name,
        expires_at=_expiry(asked.expires_at, services.clock.now()),
        within=call.reach,
        now=services.clock.now(),
        ids=services.ids,
    )
    return reply(key_json(made) | {"secret": secret}, 201, _SECRET)


def _expiry(at: datetime | None, now: datetime) -> datetime | None:
    if at is None:
        return None
    try:
        at = at.astimezone(UTC)
    except OverflowError:
        raise Invalid("The time is out of range.", code="out_of_range", param="expires_at") from None
    if at <= now:
        raise Invalid("The time is not in the future.", code="out_of_range", param="expires_at")
    return at


async def list_keys(call: Call) -> Response:
    """Those that were not revoked, without their secrets."""
    page = Page.of(call.query(KEYS_QUERY))
    found = await call.services.database.read(accounts.list_keys, within=call.reach)
    rows, has_more = page.cut(found, lambda key: key.id)
    return reply(envelope([key_json(key) for key in rows], has_more))


async def revoke_key(call: Call, key_id: str) -> Response:
    """The key as it was. Other instances honour it for a few seconds more."""
    await call.nothing()
    require_id("key", key_id)
    services = call.services
    revoked = await call.change(accounts.revoke_key, key_id, within=call.reach, now=services.clock.now())
    call.keys.forget(key_id)
    return reply(key_json(revoked))


async def list_users(call: Call) -> Response:
    """Whose keys there can be."""
    page = Page.of(call.query(USERS_QUERY))
    found = await call.services.database.read(accounts.list_users, within=call.reach)
    rows, has_more = page.cut(found, lambda user: user.id)
    return reply(envelope([user_json(user) for user in rows], has_more))


async def get_webhook_secret(call: Call) -> Response:
    """The newest of the organization's signing secrets."""
    call.query()
    found = await call.change(accounts.signing_secret, call.organization_key, now=call.services.clock.now())
    return reply({"secret": found}, headers=_SECRET)


async def rotate_webhook_secret(call: Call) -> Response:
    """A new secret; the one before signs beside it for another day."""
    await call.nothing()
    secret = signing.new_secret()
    await call.write(
        lambda _: answer_of({}, headers=_SECRET),
        accounts.set_webhook_secret,
        call.organization_key,
        secret,
        now=call.services.clock.now(),
    )
    return reply({"secret": secret}, headers=_SECRET)
