"""Generated requests, good and bad, against every documented operation: nothing undocumented comes back, and no 5xx.

`BACKBURNER_TEST_EXAMPLES` says how many in all, about, by chance instead of always the same: more take longer and
find what is rarer. How many were sent is printed (operations with few possible requests get fewer).
"""

from __future__ import annotations

import os
from math import ceil
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import ignored_auth
from tests.http.api import Api, request
from tests.http.hosted import BASE, Hosted, hosted

from backburner.states import ItemStatus

HOW_MANY = int(os.environ.get("BACKBURNER_TEST_EXAMPLES", "0"))
AT_LEAST = 9  # of each operation

#: Operations whose rules no schema can say: future times, URLs that may be called, ids of one list, …
RULED = (
    "create_batch", "create_job", "create_run", "fork_run", "create_key",
    "retry_batch", "update_job", "list_job_steps", "list_job_messages",
    "get_results", "move_batches", "list_run_steps", "list_run_messages", "list_step_messages", "list_items",
    "put_part", "complete_file",
)  # fmt: skip
#: A key that was used with another body is refused.
REUSED = ("create_user", "create_organization", "create_file")
ACCEPTED = ["2xx", "3xx", 401, 403, 404, 409, 412, 422, 429]
CONFIG: dict[str, Any] = {
    "operations": [
        {
            "include-operation-id": [*RULED, *REUSED],
            "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}},
        },
    ]
}


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


async def prepared(api: Api) -> dict[str, list[str]]:
    """One object of each kind that a path can name."""
    ended = await api.ended([ItemStatus.SUCCEEDED, ItemStatus.ERRORED])
    running = await api.batch()
    plain = (await api.post("/v1/jobs", json={})).json
    agent = {"params": request(1)["params"], "agent": {"max_rounds": 2}}
    single = (await api.post("/v1/runs", json=agent)).json["id"].removeprefix("job-")
    file = (await api.post("/v1/files", json={"name": "x"})).json
    key = (await api.get("/v1/admin/keys")).json["data"][0]
    part = ended["id"].removeprefix("job-")
    unknown = "00000000-0000-7000-8000-000000000000"
    return {
        "job_id": [ended["id"], running["id"], plain["id"]],
        "run_id": [f"run-{part}-0", f"run-{single}-0"],
        "step_id": [f"step-{part}-1-1"],
        "batch_id": [f"batch-{unknown}"],
        "delivery_id": [f"delivery-{unknown}"],
        "file_id": [file["id"]],
        "key_id": [key["id"].replace("-7", "-8")],
        "provider": ["gone"],
    }


@pytest.fixture(scope="module")
def server():
    with hosted(prepared) as found:
        yield found


@pytest.fixture(scope="module")
def document(server: Hosted):
    raw = server.session().get(f"{BASE}/openapi.json").json()
    for path in [path for path in raw["paths"] if path.endswith("/events")]:
        del raw["paths"][path]  # streams without an end
    for operations in raw["paths"].values():
        for operation in operations.values():
            # Other tests wait; here a right value would hold up the walk.
            operation["parameters"] = [found for found in operation["parameters"] if found["name"] != "wait"]
            for parameter in operation["parameters"]:
                _narrow(parameter, server.facts)
    for name, schema in raw["components"]["schemas"].items():
        if "properties" in schema and name != "RequestParams":
            schema["additionalProperties"] = False  # what is not documented is not answered
    return schemathesis.openapi.from_dict(raw, config=SchemathesisConfig.from_dict(CONFIG))


def _narrow(parameter: dict[str, Any], facts: dict[str, list[str]]) -> None:
    if parameter["in"] == "path" and parameter["name"] in facts:
        parameter["schema"] = {"type": "string", "enum": facts[parameter["name"]]}
        parameter["example"] = facts[parameter["name"]][0]


def test_every_answer_is_as_documented(server, document, pytestconfig):
    session, operations = server.session(), list(document.get_all_operations())
    sent = 0

    def check(case: Any, role: str) -> None:
        nonlocal sent
        sent += 1
        headers = {"Authorization": f"Bearer {server.api.keys[role]}"}
        # That check asks past the session; another test asks every route without a key.
        case.call_and_validate(base_url=BASE, session=session, headers=headers, excluded_checks=[ignored_auth])

    each = max(AT_LEAST, ceil(HOW_MANY / len(operations)))
    few = settings(
        max_examples=each,
        deadline=None,
        derandomize=HOW_MANY == 0,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    roles = st.sampled_from(["read", "write", "admin"])
    for found in operations:
        operation = found.ok()
        cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in GenerationMode])
        few(given(case=cases, role=roles)(check))()
    pytestconfig.get_terminal_writer().line(f"{sent:,} requests to {len(operations)} operations")
