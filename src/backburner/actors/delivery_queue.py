"""The outbox as the callback actor sees it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from backburner.model import DueDelivery
from backburner.storage import deliveries
from backburner.storage.database import Database


@attrs.frozen
class DeliveryQueue:
    """What the callback actor asks of storage."""

    database: Database

    async def claim_deliveries(self, **chosen: Any) -> list[DueDelivery]:
        return await self.database.write(deliveries.claim_deliveries, **chosen)

    async def next_delivery_at(self, **chosen: Any) -> datetime | None:
        return await self.database.read(deliveries.next_delivery_at, **chosen)
