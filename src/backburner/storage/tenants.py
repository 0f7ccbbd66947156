"""Making and listing organizations and their users."""

from __future__ import annotations

from datetime import datetime

import attrs
import sqlalchemy as sa

from backburner.errors import NotFound
from backburner.ids import Ids
from backburner.storage.accounts import User
from backburner.storage.tables import organizations, users, webhook_secrets


@attrs.frozen(kw_only=True)
class Organization:
    """Whose jobs, users and keys others cannot see."""

    id: str
    name: str
    created_at: datetime


def create_organization(tx: sa.Connection, *, name: str, webhook_secret: str, now: datetime, ids: Ids) -> Organization:
    """Make an organization without users; its webhooks are signed with `webhook_secret`."""
    made = Organization(id=ids.new("org"), name=name, created_at=now)
    key = tx.execute(
        sa.insert(organizations).values(public_id=made.id, name=name, created_at=now).returning(organizations.c.id)
    ).scalar_one()
    tx.execute(sa.insert(webhook_secrets).values(organization_id=key, secret=webhook_secret, created_at=now))
    return made


def list_organizations(tx: sa.Connection, *, within: int | None) -> list[Organization]:
    """The organization `within`, or all of them for None, oldest first."""
    found = sa.select(organizations).where(*_within(within)).order_by(organizations.c.id)
    return [Organization(id=row.public_id, name=row.name, created_at=row.created_at) for row in tx.execute(found)]


def create_user(
    tx: sa.Connection, *, organization_id: str, name: str, within: int | None, now: datetime, ids: Ids
) -> User:
    """Make a user without keys in an organization; raises NotFound for one that is not `within` (None: any)."""
    wanted = sa.select(organizations.c.id).where(organizations.c.public_id == organization_id, *_within(within))
    organization = tx.execute(wanted).scalar()
    if organization is None:
        raise NotFound("organization", organization_id)
    made = User(id=ids.new("user"), organization_id=organization_id, name=name, created_at=now)
    tx.execute(sa.insert(users).values(public_id=made.id, organization_id=organization, name=name, created_at=now))
    return made


def _within(organization_key: int | None) -> list[sa.ColumnElement[bool]]:
    return [] if organization_key is None else [organizations.c.id == organization_key]
