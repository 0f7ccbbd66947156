"""What a request may say of an agent: its tools and where its conversations stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from backburner.agent_options import (
    DEFAULT_ROUNDS,
    MOST_ROUNDS,
    MOST_TOOLS,
    TOOL_SECONDS,
    AgentOptions,
    Dollars,
    Prices,
    ToolSpec,
)
from backburner.errors import Invalid
from backburner.http.checks import check_callback
from backburner.http.services import Services

MOST_TOOL_BYTES = 64 * 1024  # of all definitions together: they are part of every request
LONGEST_CALL = 3600.0  # seconds

_ToolName = Annotated[str, msgspec.Meta(pattern=r"\A[a-zA-Z0-9_-]{1,64}\Z")]
_Tokens = Annotated[int, msgspec.Meta(ge=1, le=2**53)]


class HttpTool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tool that is called by a signed POST."""

    name: _ToolName
    url: str
    description: Annotated[str, msgspec.Meta(max_length=8192)] = ""
    input_schema: dict[str, Any] = msgspec.field(default_factory=lambda: {"type": "object"})
    idempotent: bool = False
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_CALL)] = TOOL_SECONDS


class AgentDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An agent. A tool is the name of a function that is registered here, or an HTTP tool."""

    tools: Annotated[list[_ToolName | HttpTool], msgspec.Meta(max_length=MOST_TOOLS)] = msgspec.field(
        default_factory=list
    )
    max_rounds: Annotated[int, msgspec.Meta(ge=1, le=MOST_ROUNDS)] = DEFAULT_ROUNDS
    max_output_tokens: _Tokens | None = None
    max_total_tokens: _Tokens | None = None
    max_cost_usd: Dollars | None = None
    prices: Prices | None = None


def agent_options(services: Services, given: AgentDocument) -> AgentOptions:
    """The agent as it is kept with a job. Raises Invalid, which names the field."""
    tools = tuple(_tool(services, index, tool) for index, tool in enumerate(given.tools))
    _check_names(tools)
    if given.max_cost_usd is not None and given.prices is None:
        raise Invalid("A limit in dollars needs `prices`.", code="missing_field", param="agent.prices")
    options = AgentOptions(
        tools=tools,
        max_rounds=given.max_rounds,
        max_output_tokens=given.max_output_tokens,
        max_total_tokens=given.max_total_tokens,
        max_cost_usd=given.max_cost_usd,
        prices=given.prices,
    )
    if options.added_bytes() > MOST_TOOL_BYTES:
        raise Invalid(f"The tools take more than {MOST_TOOL_BYTES} bytes in each request.", param="agent.tools")
    return options


def _tool(services: Services, index: int, tool: str | HttpTool) -> ToolSpec:
    if isinstance(tool, str):
        return _registered(services, index, tool)
    try:
        check_callback(services, tool.url)
    except Invalid as error:
        raise Invalid(str(error), code=error.code, param=f"agent.tools[{index}].url") from None
    return ToolSpec(
        name=tool.name,
        description=tool.description,
        input_schema=tool.input_schema,
        url=tool.url,
        idempotent=tool.idempotent,
        timeout_seconds=tool.timeout_seconds,
    )


def _registered(services: Services, index: int, name: str) -> ToolSpec:
    found = services.tools.get(name)
    if found is None:
        known = ", ".join(sorted(services.tools)) or "none; `serve --app` loads some"
        message = f"There is no tool {name!r} here. Known tools: {known}."
        raise Invalid(message, code="unknown_tool", param=f"agent.tools[{index}]")
    return found


def _check_names(tools: Sequence[ToolSpec]) -> None:
    names = [tool.name for tool in tools]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise Invalid(f"The tool {name!r} is given twice.", code="duplicate_tool", param=f"agent.tools[{index}]")
