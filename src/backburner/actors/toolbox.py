"""How one call of a tool is made: a function that is registered here, or a request to somebody's server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec
import trio

from backburner.agent_options import ToolSpec
from backburner.app import Tool
from backburner.clock import Clock
from backburner.errors import WorkFailed
from backburner.execution.executors import Executors
from backburner.execution.failures import Raised, outcome_of
from backburner.signatures import CONTEXT
from backburner.storage.accounts import signing_secrets
from backburner.storage.database import Database
from backburner.storage.ledger import StartedCall
from backburner.storage.patient import PatientDatabase
from backburner.times import rfc3339
from backburner.tool_outcomes import ToolOutcome, failed, returned
from backburner.webhooks.http_tools import HttpTools


@attrs.frozen(kw_only=True, eq=False)
class Toolbox:
    """Makes calls. Whatever a tool does is an outcome that the model is told, never an error."""

    tools: Mapping[str, Tool]
    executors: Executors
    http: HttpTools
    database: Database
    clock: Clock

    async def __call__(self, call: StartedCall) -> ToolOutcome:
        try:
            arguments = msgspec.json.decode(call.input, type=dict[str, Any])
        except msgspec.DecodeError as error:
            await trio.lowlevel.checkpoint()
            return failed(f"The input is not a JSON object: {error}.")
        if call.spec is not None and call.spec.url is not None:
            return await self._call_server(call, call.spec, call.spec.url, arguments)
        tool = None if call.spec is None else self.tools.get(call.name)
        if tool is None:
            await trio.lowlevel.checkpoint()
            return failed(f"There is no tool {call.name!r} here.")
        return await self._call_function(tool, arguments, call)

    async def _call_server(self, call: StartedCall, spec: ToolSpec, url: str, arguments: dict[str, Any]) -> ToolOutcome:
        now = self.clock.now()
        secrets = await PatientDatabase(self.database).read(signing_secrets, call.organization_key, now=now)
        body = {"type": "tool.call", "timestamp": rfc3339(now), **attrs.asdict(context_of(call))}
        return await self.http.call(
            url,
            {**body, "name": call.name, "input": arguments},
            call_id="-".join(["call", call.job_id.removeprefix("job-"), *map(str, call.place[1:])]),
            secrets=secrets,
            timeout=spec.timeout_seconds,
        )

    async def _call_function(self, tool: Tool, given: dict[str, Any], call: StartedCall) -> ToolOutcome:
        try:
            arguments = tool.signature.arguments(given)
            if tool.signature.takes_context:
                arguments[CONTEXT] = context_of(call)
            value = await self.executors.call(
                tool.function,
                arguments,
                executor=tool.executor,
                timeout_seconds=tool.timeout_seconds,
                name=f"tool {tool.name}",
            )
        except WorkFailed as error:
            return failed(str(error))
        except msgspec.ValidationError as error:
            return failed(f"{type(error).__name__}: {error}")
        plain = outcome_of(tool.signature.output, {"value": value})
        return failed(plain.message) if isinstance(plain, Raised) else returned(plain.value)


@attrs.frozen(kw_only=True)
class ToolContext:
    """What a tool's parameter `ctx` is given."""

    job_id: str
    custom_id: str
    agent_id: str | None
    round: int
    tool_use_id: str
    attempt: int  #: from 1; of a later one the earlier may have had effects


def context_of(call: StartedCall) -> ToolContext:
    """Which call it is."""
    return ToolContext(
        job_id=call.job_id,
        custom_id=call.custom_id,
        agent_id=call.agent_id,
        round=call.place.round,
        tool_use_id=call.tool_use_id,
        attempt=call.attempt,
    )


def spec_of(tool: Tool) -> ToolSpec:
    """A registered function as it is kept with the jobs that use it."""
    return ToolSpec(
        name=tool.name,
        description=tool.description,
        input_schema=tool.input_schema,
        idempotent=tool.idempotent,
        timeout_seconds=tool.timeout_seconds,
    )
