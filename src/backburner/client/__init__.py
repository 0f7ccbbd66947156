"""A synchronous client of the HTTP API."""

from backburner.client.client import Client as Client
from backburner.client.errors import ApiError as ApiError
from backburner.client.errors import ClientError as ClientError
from backburner.client.errors import ServerUnreachable as ServerUnreachable
