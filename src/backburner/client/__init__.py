"""Clients of the HTTP API: `Client`, and `AsyncClient` for Trio and asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backburner.client.client import Client as Client
from backburner.client.conversations import Message as Message
from backburner.client.conversations import Run as Run
from backburner.client.conversations import Step as Step
from backburner.client.errors import ApiError as ApiError
from backburner.client.errors import ClientError as ClientError
from backburner.client.errors import ServerUnreachable as ServerUnreachable
from backburner.client.errors import WaitTimeout as WaitTimeout
from backburner.client.files import File as File
from backburner.client.operations import AuditEntry as AuditEntry
from backburner.client.operations import Key as Key
from backburner.client.operations import Organization as Organization
from backburner.client.operations import User as User
from backburner.client.results import Event as Event
from backburner.client.results import Item as Item
from backburner.client.results import Job as Job
from backburner.client.results import Result as Result

if TYPE_CHECKING:
    from backburner.client.async_client import AsyncClient as AsyncClient


def __getattr__(name: str) -> Any:
    if name == "AsyncClient":  # the command line has no use for it
        from backburner.client.async_client import AsyncClient  # noqa: PLC0415

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
