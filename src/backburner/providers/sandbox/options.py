"""What can be chosen about a sandbox."""

from __future__ import annotations

from typing import Any

import attrs


def _as_range(value: float | tuple[float, float]) -> tuple[float, float]:
    if isinstance(value, tuple):
        return value
    return (float(value), float(value))


def _ordered(_: Any, attribute: attrs.Attribute[tuple[float, float]], value: tuple[float, float]) -> None:
    if not 0 <= value[0] <= value[1]:
        raise ValueError(f"{attribute.name} must be a range from 0 upwards, got {value}")


@attrs.frozen(kw_only=True)
class SandboxOptions:
    """The behaviour of one simulated account. The same options and the same calls give the same bytes."""

    seed: int = 0
    #: From the arrival of a request to the head of its answer.
    latency_seconds: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    #: How long a batch takes: a number, or a (low, high) range from which each batch draws.
    batch_seconds: tuple[float, float] = attrs.field(default=(2.0, 10.0), converter=_as_range, validator=_ordered)
    #: How long running items still take after a cancel.
    cancel_seconds: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))
    #: How many times faster than `batch_seconds` and `cancel_seconds` the work goes on.
    speed: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    #: Shares of the items, from 0 to 1, that end so; the rest succeeds.
    errored: float = attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])
    expired: float = attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])
    canceled: float = attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])
    #: About how long an ordinary reply's text is.
    reply_bytes: int = attrs.field(default=400, validator=attrs.validators.ge(1))
    #: The only key that is accepted; without one, every key is.
    api_key: str | None = attrs.field(default=None, repr=False)
    #: After how long an idle connection is closed.
    idle_seconds: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
