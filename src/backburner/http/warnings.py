"""What a server warns of, in words: its own figures, and batches that nobody can go on with."""

from __future__ import annotations

from datetime import timedelta

from backburner.figures import QueueFigures
from backburner.http.background import background_warnings
from backburner.http.services import InstanceStatus, Services
from backburner.storage.absent import absent_providers
from backburner.storage.database import Tx
from backburner.storage.holds import denied_batches
from backburner.times import rfc3339

DENIED = timedelta(minutes=2)  # just after `create` replicas lag behind


async def warnings(services: Services, instance: InstanceStatus, queue: QueueFigures) -> list[str]:
    """One sentence for each."""
    found = await services.database.read(_of_batches, services)
    return [*background_warnings(services, instance, queue), *found]


def _of_batches(tx: Tx, services: Services) -> list[str]:
    said = []
    denied, since = denied_batches(tx, before=services.clock.now() - DENIED)
    if since is not None:
        said.append(f"The provider answers 404 for {denied} batches, since {rfc3339(since)}: `backburner doctor`.")
    for name, number in absent_providers(tx, services.providers).items():
        said.append(f"{number} open batches are of the provider {name}, which is not configured: `backburner doctor`.")
    return said
