"""What operators ask for: organizations, users, keys, the audit log, the scheduler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from backburner.client.asks import Ask, Page, an_object, listing, segment
from backburner.client.results import record


@attrs.frozen(kw_only=True)
class Organization:
    """Who shares jobs, keys and webhooks."""

    id: str
    name: str = ""
    created_at: datetime | None = None
    raw: dict[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class User:
    """Somebody who has keys."""

    id: str
    name: str = ""
    organization_id: str | None = None
    created_at: datetime | None = None
    raw: dict[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class Key:
    """An API key. `secret` is there once, in the answer that makes the key."""

    id: str
    prefix: str | None = None
    scopes: Sequence[str] = ()
    user_id: str | None = None
    organization_id: str | None = None
    name: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    secret: str | None = attrs.field(default=None, repr=False)
    raw: dict[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class AuditEntry:
    """One thing that was done."""

    id: str
    action: str
    at: datetime | None = None
    organization_id: str | None = None  #: of who did it
    user_id: str | None = None
    key_id: str | None = None
    object_type: str | None = None
    object_id: str | None = None
    address: str | None = None
    request_id: str | None = None
    detail: Any = None
    raw: dict[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


def scheduler() -> Ask[dict[str, Any]]:
    return Ask(method="GET", path="/v1/admin/scheduler/status", read=an_object)


def scheduler_do(action: str) -> Ask[dict[str, Any]]:
    return Ask(method="POST", path=f"/v1/admin/scheduler/{segment(action)}", read=an_object)


def provider_batches(filters: Mapping[str, Any]) -> Ask[Page[dict[str, Any]]]:
    return listing("/v1/admin/batches", an_object, filters)


def provider_batch(batch_id: str) -> Ask[dict[str, Any]]:
    return Ask(method="GET", path=f"/v1/admin/batches/{segment(batch_id)}", read=an_object)


def provider_batch_do(batch_id: str, action: str, fields: Mapping[str, Any]) -> Ask[dict[str, Any]]:
    path = f"/v1/admin/batches/{segment(batch_id)}/{segment(action)}"
    return Ask(method="POST", path=path, json=dict(fields) or None, read=an_object)


def provider_do(provider: str, action: str, fields: Mapping[str, Any]) -> Ask[dict[str, Any]]:
    path = f"/v1/admin/providers/{segment(provider)}/{segment(action)}"
    return Ask(method="POST", path=path, json=dict(fields) or None, read=an_object)


def organizations() -> Ask[Page[Organization]]:
    return listing("/v1/admin/organizations", record(Organization), {})


def create_organization(name: str, key: str | None) -> Ask[Organization]:
    return _made("/v1/admin/organizations", Organization, {"name": name}, key)


def users() -> Ask[Page[User]]:
    return listing("/v1/admin/users", record(User), {})


def create_user(organization_id: str, name: str, key: str | None) -> Ask[User]:
    return _made("/v1/admin/users", User, {"organization_id": organization_id, "name": name}, key)


def keys() -> Ask[Page[Key]]:
    return listing("/v1/admin/keys", record(Key), {})


def create_key(fields: Mapping[str, Any]) -> Ask[Key]:
    # A replayed answer would lack the secret.
    return Ask(method="POST", path="/v1/admin/keys", json=dict(fields), read=record(Key), repeatable=False)


def revoke_key(key_id: str) -> Ask[Key]:
    return Ask(method="DELETE", path=f"/v1/admin/keys/{segment(key_id)}", read=record(Key), repeatable=False)


def audit(filters: Mapping[str, Any]) -> Ask[Page[AuditEntry]]:
    return listing("/v1/admin/audit", record(AuditEntry), filters)


def webhook_secret() -> Ask[str]:
    return Ask(method="GET", path="/v1/webhook-secret", read=_secret)


def rotate_webhook_secret() -> Ask[str]:
    # Repeated after a lost answer, the secret before the last would no longer sign.
    return Ask(method="POST", path="/v1/webhook-secret/rotate", read=_secret, repeatable=False)


def ready() -> Ask[dict[str, Any]]:
    return Ask(method="GET", path="/readyz", read=an_object)


def _made(path: str, kind: type[Any], fields: Mapping[str, Any], key: str | None) -> Ask[Any]:
    return Ask(method="POST", path=path, json=dict(fields), read=record(kind), idempotency_key=key)


def _secret(value: Any) -> str:
    return str(value["secret"])
