"""A new admin key for who has the database itself: the way back in when every key is lost."""

from __future__ import annotations

import sqlalchemy as sa

from backburner.errors import StorageUnusable
from backburner.ids import Ids
from backburner.model import Principal
from backburner.storage.accounts import ApiKey, create_key
from backburner.storage.audit import audited, new_entry
from backburner.storage.tables import organizations, users

LOCAL = "local"  # stands in the audit log where a key's id would


def make_local_key(tx: sa.Connection, *, key_hash: str, prefix: str, name: str | None, ids: Ids) -> ApiKey:
    """An admin key of the first user. Keys that are there stay as they are; the audit log tells of it.

    Raises StorageUnusable when no server has made the first user yet.
    """
    first = tx.execute(
        sa.select(users.c.id, users.c.public_id, organizations.c.id, organizations.c.public_id)
        .join_from(users, organizations, organizations.c.id == users.c.organization_id)
        .order_by(users.c.id)
        .limit(1)
    ).first()
    if first is None:
        raise StorageUnusable("The database has no user yet; the first `backburner serve` makes one, with a key.")
    user_key, user_id, organization_key, organization_id = first
    who = Principal(
        key_id=LOCAL,
        user_id=user_id,
        user_key=user_key,
        organization_id=organization_id,
        organization_key=organization_key,
        scopes=frozenset({"admin"}),
        is_operator=True,
    )
    now = ids.clock.now()
    entry = new_entry(ids, at=now, principal=who, action="key.create", object_id=None, address=None, request_id=LOCAL)
    made = {"user_id": user_id, "key_hash": key_hash, "prefix": prefix, "scopes": ("admin",), "name": name or LOCAL}
    return audited(tx, entry, create_key, **made, expires_at=None, within=None, now=now, ids=ids)
