"""The provider account of one term: what submitter and pollers find out about it, for everybody to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from backburner.submission import ACTIVE, PAUSED, Account, Options, is_about_options, special_options

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
    #: The same for each set of options with which the provider has refused a batch.
    with_options: dict[Options, Account] = attrs.field(factory=dict)

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

    @property
    def rather_not(self) -> int | None:
        """The organization whose batch paused the account: another one's tells more."""
        return self.account.organization if self.account.state == PAUSED else None

    def held_until(self, options: Mapping[str, str]) -> datetime | None:
        """When a batch with these options may be tried, if the provider has refused them; None: at once."""
        held = self.with_options.get(special_options(options))
        return None if held is None or held.is_open(self.clock.now()) else held.retry_at

    def options_refused(self, error: ProviderError, options: Mapping[str, str]) -> datetime:
        """The provider refused a batch for its options. Returns when one with them may be tried again."""
        held = self.with_options.setdefault(special_options(options), Account())
        return held.failed(error, self.clock.now(), self.random)

    def turned_away(self, error: ProviderError, organization: int | None = None) -> datetime:
        """A submission did not go through. Returns when the next one may be tried. To be shown by the caller."""
        self.account.organization = organization
        return self.account.failed(error, self.clock.now(), self.random)

    async def accepted(self, options: Mapping[str, str]) -> None:
        """A submission with these options went through."""
        self.with_options.pop(special_options(options), None)
        if self.account.succeeded():
            await self.show()

    async def poll_answered(self) -> None:
        """A poll went through."""
        if self.account.poll_answered():
            await self.show()

    async def poll_refused(self, error: ProviderPaused, options: Mapping[str, str]) -> None:
        """A poll of batches with these options was refused until a person acts."""
        if not is_about_options(error, options) and self.account.poll_refused(error, self.clock.now(), self.random):
            await self.show()
