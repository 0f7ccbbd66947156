"""What a new batch may say besides its requests, in a JSON body or as query parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import attrs
import msgspec

from backburner.agent_options import AgentOptions
from backburner.errors import Invalid, Malformed
from backburner.http.agent_body import AgentDocument, agent_options
from backburner.http.checks import check_callback
from backburner.http.items import Defaults
from backburner.http.query import Parameter, flag, number, whole, words
from backburner.http.services import Services
from backburner.http.strict import decode, decode_in_steps
from backburner.job_metadata import check_metadata
from backburner.request_config import check_request_config
from backburner.steps import patiently

T = TypeVar("T")

LONGEST_DEADLINE = 366 * 86_400.0  # seconds
MOST_CHUNK_ITEMS = 100_000
INT32 = (-(2**31), 2**31 - 1)


@attrs.frozen(kw_only=True)
class BatchOptions:
    """Checked, the defaults filled in. `deadline_seconds` counts from now."""

    provider: str
    metadata: dict[str, Any]
    request_config: dict[str, Any]
    callback_url: str | None
    priority: int
    deadline_seconds: float | None
    chunk_items: int | None
    defaults: Defaults | None
    agent: AgentOptions | None


class BatchDocument(msgspec.Struct, forbid_unknown_fields=True):
    """The members of a JSON body beside `requests`."""

    provider: str | None = None
    metadata: dict[str, Any] | None = None
    request_config: dict[str, Any] | None = None
    callback_url: str | None = None
    priority: Annotated[int, msgspec.Meta(ge=INT32[0], le=INT32[1])] | None = None
    deadline_seconds: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_DEADLINE)] | None = None
    chunk_items: Annotated[int, msgspec.Meta(ge=1, le=MOST_CHUNK_ITEMS)] | None = None
    defaults: dict[str, msgspec.Raw] | None = None
    agent: AgentDocument | None = None


JSON_QUERY: Mapping[str, Parameter] = {"dry_run": Parameter(convert=flag, default=False)}


async def options_of_document(services: Services, members: bytes) -> BatchOptions:
    """From the JSON body without its requests. Raises Malformed and Invalid."""
    given = await patiently(decode_in_steps(members, BatchDocument))
    return _checked(services, msgspec.structs.asdict(given))


def options_of_query(services: Services, given: Mapping[str, Any]) -> BatchOptions:
    """From converted query parameters. Raises Invalid."""
    return _checked(services, {**given, "defaults": None})


def _checked(services: Services, given: Mapping[str, Any]) -> BatchOptions:
    provider, metadata = given["provider"] or services.provider, given["metadata"] or {}
    if provider not in services.providers:
        known = ", ".join(sorted(services.providers))
        raise Invalid(
            f"There is no provider {provider!r} here; known: {known}.", code="unknown_provider", param="provider"
        )
    check_metadata(metadata)
    request_config = given["request_config"] or {}
    check_request_config(request_config)
    if given["callback_url"] is not None:
        check_callback(services, given["callback_url"])
    return BatchOptions(
        provider=provider,
        metadata=metadata,
        request_config=request_config,
        callback_url=given["callback_url"],
        priority=given["priority"] or 0,
        deadline_seconds=given["deadline_seconds"],
        chunk_items=given["chunk_items"],
        defaults=given["defaults"],
        agent=None if given["agent"] is None else agent_options(services, given["agent"]),
    )


def _object(name: str, type_: type[T]) -> Callable[[str], T]:
    """A JSON object in a parameter of this name."""

    def convert(text: str) -> T:
        try:
            return decode(text.encode(), type_)
        except Malformed as error:
            raise Invalid(str(error).replace("The body", f"The parameter {name!r}"), param=name) from None
        except Invalid as error:
            raise Invalid(str(error), code=error.code, param=f"{name}.{error.param or ''}".rstrip(".")) from None

    return convert


def _deadline(text: str) -> float:
    seconds = number(0, LONGEST_DEADLINE)(text)
    if seconds == 0:
        raise ValueError("must be above 0")
    return seconds


NDJSON_QUERY: Mapping[str, Parameter] = {
    **JSON_QUERY,
    "provider": Parameter(convert=words()),
    "metadata": Parameter(convert=_object("metadata", dict[str, Any])),
    "request_config": Parameter(convert=_object("request_config", dict[str, Any])),
    "callback_url": Parameter(convert=str),
    "priority": Parameter(convert=whole(*INT32)),
    "deadline_seconds": Parameter(convert=_deadline),
    "chunk_items": Parameter(convert=whole(1, MOST_CHUNK_ITEMS)),
    "agent": Parameter(convert=_object("agent", AgentDocument)),
}
