"""The provider account of one term: what submitter and pollers find out about it, for everybody to see."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any

import attrs
import structlog
import trio

from backburner.clock import Clock
from backburner.errors import ProviderError, ProviderPaused, StorageUnavailable
from backburner.leadership import Mandate
from backburner.storage.database import Database
from backburner.storage.facts import ProviderState, provider_states, set_provider
from backburner.storage.fence import fenced
from backburner.submission import ACTIVE, Account

log = structlog.get_logger()

AWAY = 1.0  # seconds between tries while the database is away


@attrs.frozen(kw_only=True, eq=False)
class TermWrites:
    """Writes of one term that must not get lost once the provider has been asked."""

    database: Database
    mandate: Mandate

    async def __call__(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """work(tx, …) in a fenced transaction, tried until the database is back; it has to bear being done twice.

        Raises LeadershipLost.
        """
        while True:
            try:
                return await self.database.write(fenced, self.mandate.term, work, *args, **kwargs)
            except StorageUnavailable as error:
                log.warning("write postponed", error=str(error), retry_seconds=AWAY)
            await trio.sleep(AWAY)


@attrs.frozen(kw_only=True, eq=False)
class AccountKeeper:
    """Keeps the account and shows its changes in the database. Shared by the actors of a term."""

    name: str
    write: TermWrites
    clock: Clock
    random: Random
    account: Account = attrs.field(factory=Account)

    async def show(self) -> None:
        """Write down how the account stands."""
        state = ProviderState(
            name=self.name, state=self.account.state, reason=self.account.reason, retry_at=self.account.retry_at
        )
        await self.write(set_provider, state, now=self.clock.now())

    async def may_submit(self) -> bool:
        """Whether a submission may be tried: there is nothing to wait for, or somebody has said to try again."""
        if self.account.is_open(self.clock.now()):
            return True
        for shown in await self.write.database.read(provider_states):
            if shown.name == self.name and shown.state == ACTIVE:
                self.account.succeeded()
        return self.account.is_open(self.clock.now())

    def turned_away(self, error: ProviderError) -> datetime:
        """A submission did not go through. Returns when the next one may be tried. To be shown by the caller."""
        return self.account.failed(error, self.clock.now(), self.random)

    async def accepted(self) -> None:
        """A submission went through."""
        if self.account.succeeded():
            await self.show()

    async def poll_answered(self) -> None:
        """A poll went through."""
        if self.account.poll_answered():
            await self.show()

    async def poll_refused(self, error: ProviderPaused) -> None:
        """A poll was refused until a person acts."""
        if self.account.poll_refused(error, self.clock.now(), self.random):
            await self.show()
