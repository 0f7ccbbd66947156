"""What an agent job may do, as it is kept with the job: its tools, and where its conversations stop."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from backburner.model import Usage

DEFAULT_ROUNDS = 10
MOST_ROUNDS = 100
MOST_TOOLS = 64
TOOL_SECONDS = 60.0
MILLION = 1_000_000
DEAREST_CACHE_WRITE = 2.0  # times the price of input


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One tool as the model is told of it. Kept with the job, so that every round says the same."""

    name: str
    description: str = ""
    input_schema: dict[str, Any] = msgspec.field(default_factory=lambda: {"type": "object"})
    url: str | None = None  #: of an HTTP tool; None: a function that is registered here
    idempotent: bool = False  #: whether a call that may have run can be made again
    timeout_seconds: float = TOOL_SECONDS

    def definition(self) -> dict[str, Any]:
        """The tool as it stands in a request."""
        told = {"description": self.description} if self.description else {}
        return {"name": self.name, **told, "input_schema": self.input_schema}


Dollars = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]


class Prices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """US dollars for a million tokens of each kind. Without them no cost is known.

    A price of cached tokens that is not named counts as the dearest that can apply, so that a limit in dollars never
    lets more be spent than it says: writing for an hour costs twice the input, reading never more than the input.
    """

    input: Dollars
    output: Dollars
    cache_write: Dollars | None = None
    cache_read: Dollars | None = None

    def cost(self, usage: Usage) -> float:
        """US dollars."""
        write = DEAREST_CACHE_WRITE * self.input if self.cache_write is None else self.cache_write
        read = self.input if self.cache_read is None else self.cache_read
        return (
            usage.input_tokens * self.input
            + usage.output_tokens * self.output
            + usage.cache_creation_input_tokens * write
            + usage.cache_read_input_tokens * read
        ) / MILLION


class AgentOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What each conversation of a job may do. Limits are those of one conversation, over all its rounds."""

    tools: tuple[ToolSpec, ...] = ()
    max_rounds: int = DEFAULT_ROUNDS
    max_output_tokens: int | None = None
    max_total_tokens: int | None = None
    max_cost_usd: float | None = None
    prices: Prices | None = None

    def tool(self, name: str) -> ToolSpec | None:
        """The tool of this name."""
        return next((tool for tool in self.tools if tool.name == name), None)

    def definitions(self) -> list[tuple[str, bytes]]:
        """(name, JSON) of each tool as requests name it."""
        return [(tool.name, msgspec.json.encode(tool.definition())) for tool in self.tools]

    def added_bytes(self) -> int:
        """By how much the tools make each request longer, about."""
        return sum(len(definition) + 1 for _, definition in self.definitions())


def agent_of(stored: Any) -> AgentOptions:
    """The options of an agent job from its `agent` column, decoded."""
    return msgspec.convert(stored, AgentOptions)


def kept(options: AgentOptions) -> dict[str, Any]:
    """The options as they are stored and shown."""
    shown: dict[str, Any] = msgspec.to_builtins(options)
    return {"max_rounds": options.max_rounds, **shown}


def cost_of(agent: Any, usage: Usage | None) -> float | None:
    """US dollars of some usage, by the prices that the agent's owner has named; None where they are not known."""
    prices = agent_of(agent).prices if agent else None
    return None if prices is None or usage is None else prices.cost(usage)
