"""Backburner: a durable, self-hosted server for LLM work that can wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from backburner.app import App as App
    from backburner.client.async_client import AsyncClient as AsyncClient
    from backburner.client.client import Client as Client
    from backburner.client.errors import ApiError as ApiError
    from backburner.client.errors import ClientError as ClientError
    from backburner.client.errors import ServerUnreachable as ServerUnreachable
    from backburner.client.errors import WaitTimeout as WaitTimeout
    from backburner.client.errors import WebhookInvalid as WebhookInvalid
    from backburner.client.results import Event as Event
    from backburner.client.results import Item as Item
    from backburner.client.results import Job as Job
    from backburner.client.results import Result as Result
    from backburner.client.webhook import WebhookEvent as WebhookEvent
    from backburner.client.webhook import verify_webhook as verify_webhook
    from backburner.errors import GiveUp as GiveUp
    from backburner.errors import TryAgainLater as TryAgainLater

#: Where the public names are; loaded when they are first used, because the server and `--help` need none of them.
_PLACES = {
    "AsyncClient": "client.async_client",
    "Client": "client.client",
    "ApiError": "client.errors",
    "ClientError": "client.errors",
    "ServerUnreachable": "client.errors",
    "WaitTimeout": "client.errors",
    "WebhookInvalid": "client.errors",
    "Event": "client.results",
    "Item": "client.results",
    "Job": "client.results",
    "Result": "client.results",
    "WebhookEvent": "client.webhook",
    "verify_webhook": "client.webhook",
    "App": "app",
    "GiveUp": "errors",
    "TryAgainLater": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    return getattr(importlib.import_module(f"backburner.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
