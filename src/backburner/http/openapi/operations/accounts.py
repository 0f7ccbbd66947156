"""Organizations, users, keys and what they did."""

from __future__ import annotations

from backburner.http import keys, tenants
from backburner.http.openapi import operator_schemas as schemas
from backburner.http.openapi.operation import Answer, Body, Operation, Operations

_NO_STORE = {"Cache-Control": "`no-store`"}
_UUID = "01920000-0000-7000-8000-000000000000"

OPERATIONS: Operations = {
    tenants.create_organization: Operation(
        tag="Accounts",
        summary="Create an organization",
        about="Only keys of the first organization may.",
        bodies=[Body(type=tenants.NewOrganization, example={"name": "acme"})],
        answers={201: Answer(about="The organization.", type=schemas.Organization)},
    ),
    tenants.list_organizations: Operation(
        tag="Accounts",
        summary="List organizations",
        about="Keys of the first organization see all of them; others their own.",
        query=tenants.ORGANIZATIONS_QUERY,
        answers={200: Answer(about="A page of organizations.", type=schemas.OrganizationList)},
    ),
    tenants.create_user: Operation(
        tag="Accounts",
        summary="Create a user",
        bodies=[Body(type=tenants.NewUser, example={"organization_id": f"org-{_UUID}", "name": "ada"})],
        answers={201: Answer(about="The user.", type=schemas.User)},
        errors={404: "There is no such organization."},
    ),
    tenants.list_audit: Operation(
        tag="Accounts",
        summary="Read the audit log",
        about="Keys of the first organization see everybody's; others their own.",
        query=tenants.AUDIT_QUERY,
        answers={200: Answer(about="A page of the log.", type=schemas.AuditList)},
    ),
    keys.list_users: Operation(
        tag="Accounts",
        summary="List users",
        query=keys.USERS_QUERY,
        answers={200: Answer(about="A page of users.", type=schemas.UserList)},
    ),
    keys.list_keys: Operation(
        tag="Accounts",
        summary="List keys",
        about="Those that were not revoked, without their secrets.",
        query=keys.KEYS_QUERY,
        answers={200: Answer(about="A page of keys.", type=schemas.KeyList)},
    ),
    keys.create_key: Operation(
        tag="Accounts",
        summary="Create a key",
        about="Its secret is in this answer and nowhere else; the replay of an `Idempotency-Key` omits it.",
        bodies=[
            Body(
                type=keys.NewKey,
                example={"user_id": "user-01920000-0000-7000-8000-000000000000", "scopes": ["read", "write"]},
            )
        ],
        answers={201: Answer(about="The key.", type=schemas.KeyWithSecret, headers=_NO_STORE)},
        errors={404: "There is no such user."},
    ),
    keys.revoke_key: Operation(
        tag="Accounts",
        summary="Revoke a key",
        about="Everywhere within five seconds.",
        answers={200: Answer(about="The key as it was.", type=schemas.Key)},
    ),
    keys.get_webhook_secret: Operation(
        tag="Webhooks",
        summary="Get the secret that signs webhooks",
        answers={200: Answer(about="The newest one.", type=schemas.WebhookSecret, headers=_NO_STORE)},
        errors={404: "There is none."},
    ),
    keys.rotate_webhook_secret: Operation(
        tag="Webhooks",
        summary="Change the secret that signs webhooks",
        about="The one before signs beside it for 24 hours.",
        answers={200: Answer(about="The new one.", type=schemas.WebhookSecret, headers=_NO_STORE)},
    ),
}
