"""Organizations, users, API keys and signing secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs
import sqlalchemy as sa

from backburner.errors import NotFound
from backburner.ids import Ids
from backburner.model import Principal
from backburner.storage.tables import api_keys, leader_epoch, organizations, users, webhook_secrets

FIRST = 1  # the key of the first organization: the operator's
ROTATION = timedelta(hours=24)  # for which the old signing secret signs too


@attrs.frozen(kw_only=True)
class ApiKey:
    """A key as it may be shown."""

    id: str
    prefix: str
    scopes: tuple[str, ...]
    user_id: str
    organization_id: str
    name: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None  #: up to a minute behind


@attrs.frozen(kw_only=True)
class User:
    """Somebody who has keys and owns jobs."""

    id: str
    organization_id: str
    name: str
    created_at: datetime


def has_keys(tx: sa.Connection) -> bool:
    """Whether anybody can be let in yet."""
    return tx.execute(sa.select(api_keys.c.id).where(api_keys.c.revoked_at.is_(None)).limit(1)).first() is not None


def bootstrap(tx: sa.Connection, *, key_hash: str, prefix: str, webhook_secret: str, now: datetime, ids: Ids) -> bool:
    """Make the first organization, user and admin key. False, and nothing done, when there is an organization."""
    if _has_organization(tx):  # without the lock, for which the transactions of a busy leader leave no gap
        return False
    # Two instances may start on one empty database: the second waits here, and then sees what the first has made.
    tx.execute(sa.select(leader_epoch.c.name).with_for_update())
    if _has_organization(tx):
        return False
    organization = tx.execute(
        sa.insert(organizations)
        .values(public_id=ids.new("org"), name="default", created_at=now)
        .returning(organizations.c.id)
    ).scalar_one()
    user_id = ids.new("user")
    tx.execute(sa.insert(users).values(public_id=user_id, organization_id=organization, name="admin", created_at=now))
    tx.execute(sa.insert(webhook_secrets).values(organization_id=organization, secret=webhook_secret, created_at=now))
    create_key(
        tx, user_id=user_id, key_hash=key_hash, prefix=prefix, scopes=("admin",), name="bootstrap", expires_at=None,
        within=None, now=now, ids=ids,
    )  # fmt: skip
    return True


def _has_organization(tx: sa.Connection) -> bool:
    return tx.execute(sa.select(organizations.c.id).limit(1)).first() is not None


def accept_key(tx: sa.Connection, *, key_hash: str, prefix: str, now: datetime, ids: Ids) -> bool:
    """Make a configured bootstrap key of a later start valid, for the first user. False when it is known already."""
    # Locked, because several instances may be started with one new key at once.
    first_user = sa.select(users.c.public_id).order_by(users.c.id).limit(1).with_for_update()
    user_id = tx.execute(first_user).scalar_one()
    if tx.execute(sa.select(api_keys.c.id).where(api_keys.c.secret_hash == key_hash)).first() is not None:
        return False
    create_key(
        tx, user_id=user_id, key_hash=key_hash, prefix=prefix, scopes=("admin",), name="bootstrap", expires_at=None,
        within=None, now=now, ids=ids,
    )  # fmt: skip
    return True


def set_webhook_secret(tx: sa.Connection, organization_key: int, secret: str, *, now: datetime) -> None:
    """Make `secret` the one that signs; the one before signs too for another day. Does nothing if it signs already."""
    # One rotation at a time, or two secrets would sign for ever.
    tx.execute(sa.select(organizations.c.id).where(organizations.c.id == organization_key).with_for_update())
    current = (webhook_secrets.c.organization_id == organization_key, webhook_secrets.c.retires_at.is_(None))
    if tx.execute(sa.select(webhook_secrets.c.secret).where(*current)).scalar() == secret:
        return
    tx.execute(sa.update(webhook_secrets).where(*current).values(retires_at=now + ROTATION))
    tx.execute(sa.insert(webhook_secrets).values(organization_id=organization_key, secret=secret, created_at=now))


def signing_secrets(tx: sa.Connection, organization_key: int, *, now: datetime) -> tuple[str, ...]:
    """The secrets that sign now, newest first."""
    valid = sa.select(webhook_secrets.c.secret).where(
        webhook_secrets.c.organization_id == organization_key,
        sa.or_(webhook_secrets.c.retires_at.is_(None), webhook_secrets.c.retires_at > now),
    )
    return tuple(tx.execute(valid.order_by(webhook_secrets.c.id.desc())).scalars())


def signing_secret(tx: sa.Connection, organization_key: int, *, now: datetime) -> str:
    """The newest of them. Raises NotFound for an organization that never had one."""
    found = signing_secrets(tx, organization_key, now=now)
    if not found:
        raise NotFound("webhook secret", "current")
    return found[0]


_KEY_SOURCE = api_keys.join(users, users.c.id == api_keys.c.user_id).join(
    organizations, organizations.c.id == users.c.organization_id
)
_PRINCIPAL = (
    sa.select(
        api_keys.c.public_id,
        api_keys.c.scopes,
        users.c.public_id.label("user_id"),
        users.c.id.label("user_key"),
        organizations.c.public_id.label("organization_id"),
        organizations.c.id.label("organization_key"),
    )
    .select_from(_KEY_SOURCE)
    .where(
        api_keys.c.secret_hash == sa.bindparam("hash"),
        api_keys.c.revoked_at.is_(None),
        sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > sa.bindparam("now")),
    )
)


def principal_of(tx: sa.Connection, key_hash: str, *, now: datetime) -> Principal | None:
    """Who presents this key; None for an unknown, expired or revoked one."""
    row = tx.execute(_PRINCIPAL, {"hash": key_hash, "now": now}).first()
    if row is None:
        return None
    return Principal(
        key_id=row.public_id,
        user_id=row.user_id,
        user_key=row.user_key,
        organization_id=row.organization_id,
        organization_key=row.organization_key,
        scopes=frozenset(row.scopes),
        is_operator=row.organization_key == FIRST,
    )


def list_users(tx: sa.Connection, *, within: int | None) -> list[User]:
    """Users of the organization `within` (None: of any), oldest first."""
    found = (
        sa.select(users.c.public_id, organizations.c.public_id.label("organization"), users.c.name, users.c.created_at)
        .join_from(users, organizations, organizations.c.id == users.c.organization_id)
        .where(*_within(within))
    )
    return [
        User(id=row.public_id, organization_id=row.organization, name=row.name, created_at=row.created_at)
        for row in tx.execute(found.order_by(users.c.id))
    ]


def create_key(
    tx: sa.Connection,
    *,
    user_id: str,
    key_hash: str,
    prefix: str,
    scopes: Sequence[str],
    name: str | None,
    expires_at: datetime | None,
    within: int | None,
    now: datetime,
    ids: Ids,
) -> ApiKey:
    """Make a key for a user of the organization `within` (None: of any). Raises NotFound."""
    user = sa.select(users.c.id).where(users.c.public_id == user_id, *_within(within))
    user_key = tx.execute(user).scalar()
    if user_key is None:
        raise NotFound("user", user_id)
    public_id = ids.new("key")
    tx.execute(
        sa.insert(api_keys).values(
            public_id=public_id,
            user_id=user_key,
            prefix=prefix,
            secret_hash=key_hash,
            scopes=list(scopes),
            name=name,
            created_at=now,
            expires_at=expires_at,
        )
    )
    return next(key for key in list_keys(tx, within=within) if key.id == public_id)


def _within(organization_key: int | None) -> list[sa.ColumnElement[bool]]:
    return [] if organization_key is None else [users.c.organization_id == organization_key]


def list_keys(tx: sa.Connection, *, within: int | None) -> list[ApiKey]:
    """Keys that were not revoked, oldest first."""
    found = (
        sa.select(
            api_keys,
            users.c.public_id.label("user_public_id"),
            organizations.c.public_id.label("organization_public_id"),
        )
        .select_from(_KEY_SOURCE)
        .where(api_keys.c.revoked_at.is_(None), *_within(within))
        .order_by(api_keys.c.id)
    )
    return [_api_key(row) for row in tx.execute(found)]


def _api_key(row: Any) -> ApiKey:
    return ApiKey(
        id=row.public_id,
        prefix=row.prefix,
        scopes=tuple(row.scopes),
        user_id=row.user_public_id,
        organization_id=row.organization_public_id,
        name=row.name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )


def note_uses(tx: sa.Connection, uses: Mapping[str, datetime]) -> None:
    """Keys (public ids) were used at these times. What another instance has noted later stays."""
    for public_id, at in sorted(uses.items()):
        earlier = sa.or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < at)
        tx.execute(sa.update(api_keys).where(api_keys.c.public_id == public_id, earlier).values(last_used_at=at))


def revoke_key(tx: sa.Connection, public_id: str, *, within: int | None, now: datetime) -> ApiKey:
    """Revoke a key and return what it was. Raises NotFound."""
    key = next((key for key in list_keys(tx, within=within) if key.id == public_id), None)
    if key is None:
        raise NotFound("key", public_id)
    tx.execute(sa.update(api_keys).where(api_keys.c.public_id == public_id).values(revoked_at=now))
    return key
