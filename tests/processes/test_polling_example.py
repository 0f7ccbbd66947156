"""A client that only knows how to ask again and again, and an owner that moves its job, against a real server."""

from __future__ import annotations

import threading
import time

import httpx2 as requests
import pytest
from tests.processes.harness import KEY, serve

pytestmark = pytest.mark.processes


def poll_job_status(job_id, base_url, max_wait=300):
    """As people write it, with the key added."""
    url = f"{base_url}/jobs/{job_id}"
    start_time = time.time()  # noqa: TID251  # a client has no clock of ours

    while time.time() - start_time < max_wait:  # noqa: TID251
        response = requests.get(url, headers={"x-api-key": KEY})
        job = response.json()

        if job["status"] in ["completed", "failed", "cancelled"]:
            return job

        time.sleep(0.1)  # noqa: TID251

    raise TimeoutError(f"Job {job_id} did not complete within {max_wait} seconds")


def test_a_polled_job_is_seen_to_complete_under_the_older_base(tmp_path):
    with serve(tmp_path) as server, server.client() as client:
        made = client.post("/api/jobs", json={"metadata": {"total_files": 2}})
        assert made.status_code == 202, made.text
        path = f"/api/jobs/{made.json()['id']}"

        def own() -> None:
            for changes in (
                {"status": "pending"},
                {"status": "running", "metadata": {"processed_files": 1}},
                {"status": "completed", "metadata": {"processed_files": 2}, "result": "done"},
            ):
                assert client.patch(path, json=changes).status_code == 200

        owner = threading.Thread(target=own)
        owner.start()
        job = poll_job_status(made.json()["id"], f"{server.url}/api", max_wait=30)
        owner.join()
        assert (job["status"], job["result"]) == ("completed", "done")
        assert job["metadata"] == {"total_files": 2, "processed_files": 2}
        running = client.get("/api/jobs?status=running").json()
        assert (running["data"], client.get("/api/admin/scheduler/status").status_code) == ([], 200)
