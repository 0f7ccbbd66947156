"""What each kind of trouble means, and the commands that settle it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from backburner.storage.troubles import Trouble


@attrs.frozen
class Remedy:
    """For people: what is the matter, and what to type."""

    explanation: str
    commands: tuple[str, ...]


def remedy(trouble: Trouble) -> Remedy:
    """What to tell of a trouble."""
    return _REMEDIES[trouble.kind](trouble.subject, trouble.facts)


def _paused_account(name: str, facts: Mapping[str, Any]) -> Remedy:
    why = f"The account of {name} turns requests away ({facts['reason']}); nothing is submitted. "
    how = f"It is tried again at {_time(facts['retry_at'])}; put key or billing right, and have it tried at once."
    return Remedy(why + how, ("backburner scheduler resume",))


def _polling_paused(_: str, _facts: Mapping[str, Any]) -> Remedy:
    text = "Polling and submitting were paused by hand; nothing moves on any instance."
    return Remedy(text, ("backburner scheduler resume",))


def _absent_provider(name: str, facts: Mapping[str, Any]) -> Remedy:
    text = (
        f"{facts['batches']} open batches are of the provider {name}, which is not configured any more: nobody submits "
        "or looks at them. Configure it again; or move what was planned, or end it."
    )
    moves = tuple(f"backburner batches move --from {name} --to {other}" for other in facts["configured"])
    return Remedy(text, (*moves, f"backburner batches end --provider {name}"))


def _forgotten(batch: str, facts: Mapping[str, Any]) -> Remedy:
    text = f"{batch} of {facts['job']} is {facts['status']} and has no time for its next look, so nobody looks."
    return Remedy(text, (f"backburner batches poll {batch}",))


def _quarantined(batch: str, facts: Mapping[str, Any]) -> Remedy:
    found = facts["candidates"]
    several = f"{len(found)} batches at the provider could be it" if found else "what it made could not be told"
    text = (
        f"The answer to the submission of {batch} ({facts['items']} items of {facts['job']}) was lost at "
        f"{_time(facts['since'])}; {several}. Its requests have custom ids that begin with {facts['nonce']}-: look for "
        "them in the provider's console. Adopt the batch that has them; if none has, abandon it and retry its items."
    )
    return Remedy(text, _decisions(batch, facts))


def _unknown(batch: str, facts: Mapping[str, Any]) -> Remedy:
    text = (
        f"The answer to the submission of {batch} ({facts['items']} items of {facts['job']}) was lost at "
        f"{_time(facts['since'])}. It is being looked for at the provider and settles by itself while a server leads; "
        "have it looked for now, or decide yourself."
    )
    return Remedy(text, (f"backburner batches poll {batch}", *_decisions(batch, facts)))


def _denied(batch: str, facts: Mapping[str, Any]) -> Remedy:
    text = (
        f"The provider has answered 404 for {batch} ({facts['items']} items of {facts['job']}; there it is "
        f"{facts['theirs']}) since {_time(facts['since'])}. Is the key one of another workspace, or the base URL wrong?"
        " It is asked again until the provider keeps results no longer; put it right, or give the batch up."
    )
    abandon = f"backburner batches abandon {batch} && backburner retry {facts['job']}"
    return Remedy(text, (f"backburner batches poll {batch}", abandon))


def _decisions(batch: str, facts: Mapping[str, Any]) -> tuple[str, ...]:
    candidates = facts["candidates"] or ["PROVIDER_BATCH"]
    adoptions = [f"backburner batches adopt {batch} {candidate}" for candidate in map(shlex.quote, candidates)]
    return (*adoptions, f"backburner batches abandon {batch} && backburner retry {facts['job']}")


def _overdue(batch: str, facts: Mapping[str, Any]) -> Remedy:
    text = (
        f"{batch} of {facts['job']} is {facts['status']} and should have been looked at by {_time(facts['due'])}. "
        "Either no server leads, or the leader does not get to it."
    )
    return Remedy(text, ("backburner status", f"backburner batches poll {batch}"))


def _late_delivery(delivery: str, facts: Mapping[str, Any]) -> Remedy:
    text = f"The webhook {delivery} of {facts['job']} was due at {_time(facts['due'])}; no server is sending."
    return Remedy(text, ("backburner status", f"backburner deliveries redeliver {facts['job']} {delivery}"))


def _failed_delivery(delivery: str, facts: Mapping[str, Any]) -> Remedy:
    gone = "its receiver answered 410 Gone" if facts["status"] == "disabled" else f"{facts['attempts']} attempts failed"
    text = f"The webhook {delivery} of {facts['job']} was given up: {gone}."
    commands = (
        f"backburner deliveries list {facts['job']} --json",
        f"backburner deliveries redeliver {facts['job']} {delivery}",
    )
    return Remedy(text, commands)


def _time(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "an unknown time"


_REMEDIES: Mapping[str, Callable[[str, Mapping[str, Any]], Remedy]] = {
    "paused_account": _paused_account,
    "polling_paused": _polling_paused,
    "absent_provider": _absent_provider,
    "forgotten_batch": _forgotten,
    "quarantined_batch": _quarantined,
    "unknown_batch": _unknown,
    "denied_batch": _denied,
    "overdue_batch": _overdue,
    "late_delivery": _late_delivery,
    "failed_delivery": _failed_delivery,
}
