"""Organizations, their users, and the log of what was done."""

from __future__ import annotations

from typing import Annotated, Any

import attrs
import msgspec
from quart import Response

from backburner import signing
from backburner.http import paging
from backburner.http.call import Call, answer_of, reply
from backburner.http.paging import Page, envelope
from backburner.http.query import Parameter, moment, words
from backburner.http.shapes import user_json
from backburner.storage import audit, tenants
from backburner.storage.audit import AuditFilter, AuditRow
from backburner.storage.pages import Cut
from backburner.storage.tenants import Organization
from backburner.times import rfc3339

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]

ORGANIZATIONS_QUERY = paging.parameters("org", pattern=r"[0-9a-z-]{1,64}")
AUDIT_QUERY = {
    **paging.parameters("audit"),
    **{name: Parameter(convert=words()) for name in ("action", "object_id", "key_id", "user_id")},
    "created_after": Parameter(convert=moment),
    "created_before": Parameter(convert=moment),
}


class NewOrganization(msgspec.Struct, forbid_unknown_fields=True):
    """An organization about to be made."""

    name: Name


class NewUser(msgspec.Struct, forbid_unknown_fields=True):
    """A user about to be made."""

    organization_id: Name
    name: Name


async def create_organization(call: Call) -> Response:
    """201; only the operator makes organizations."""
    call.query()
    call.require_operator()
    asked, services = await call.json(NewOrganization), call.services
    return await call.make(
        lambda made: answer_of(organization_json(made), 201),
        tenants.create_organization,
        name=asked.name,
        webhook_secret=signing.new_secret(),
        now=services.clock.now(),
        ids=services.ids,
    )


async def list_organizations(call: Call) -> Response:
    """All of them for the operator; their own for other admins."""
    page = Page.of(call.query(ORGANIZATIONS_QUERY))
    found = await call.services.database.read(tenants.list_organizations, within=call.reach)
    rows, has_more = page.cut(found, lambda organization: organization.id)
    return reply(envelope([organization_json(row) for row in rows], has_more))


async def create_user(call: Call) -> Response:
    """201; in any organization for the operator, in their own for other admins."""
    call.query()
    asked, services = await call.json(NewUser), call.services
    return await call.make(
        lambda made: answer_of(user_json(made), 201),
        tenants.create_user,
        organization_id=asked.organization_id,
        name=asked.name,
        within=call.reach,
        now=services.clock.now(),
        ids=services.ids,
    )


async def list_audit(call: Call) -> Response:
    """What keys did: of every organization for the operator, of their own for other admins."""
    asked = call.query(AUDIT_QUERY)
    chosen = AuditFilter(**{field.name: asked[field.name] for field in attrs.fields(AuditFilter)})
    cut = Cut(**attrs.asdict(Page.of(asked)))
    rows, has_more = await call.services.database.read(audit.list_audit, within=call.reach, chosen=chosen, cut=cut)
    return reply(envelope([audit_json(row) for row in rows], has_more))


def organization_json(organization: Organization) -> dict[str, Any]:
    """As it is answered."""
    shown = {**attrs.asdict(organization), "object": "organization"}
    return shown | {"created_at": rfc3339(organization.created_at)}


def audit_json(row: AuditRow) -> dict[str, Any]:
    """As it is answered."""
    return {**attrs.asdict(row), "object": "audit_entry", "at": rfc3339(row.at)}
