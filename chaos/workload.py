"""Clients that go on submitting, whatever happens to the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any, Self

import httpx2
import msgspec
from tests.processes.harness import KEY
from tests.processes.receiver import Receiver

from chaos.ledger import Ledger

CHUNK = 20  # items of a provider batch
MOST_UNANSWERED = 5
PAUSE = 0.1  # seconds after something that was not answered


class Workload:
    """A thread that submits small jobs and keeps some of them open. An answer that got lost is asked for again with
    the same `Idempotency-Key`, so that in the end it is known of each submission which job it made.
    """

    def __init__(
        self, ledger: Ledger, receiver: Receiver, server: Callable[[], str], *, seed: int = 0, open_jobs: int = 5
    ) -> None:
        self._ledger = ledger
        self._receiver = receiver
        self._server = server
        self._seed = seed
        self._open_jobs = open_jobs
        self._number = 0
        self._unanswered: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Finishes the submission under way: a server has to be there."""
        self._stop.set()
        self._thread.join(120)
        if self._thread.is_alive():
            raise AssertionError("a submission was not answered for two minutes")
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            with httpx2.Client(headers={"authorization": f"Bearer {KEY}"}, timeout=10.0) as client:
                while not self._stop.is_set():
                    self._turn(client)
                while self._unanswered:
                    self._try(client, self._unanswered.pop(0))
        except BaseException as error:  # raised again where the block ends
            self.error = error

    def _turn(self, client: httpx2.Client) -> None:
        """One more submission if there is room, else one that was not answered yet."""
        if len(self._ledger.undelivered(self._receiver)) < self._open_jobs and len(self._unanswered) < MOST_UNANSWERED:
            self._number += 1
            self._try(client, self._number)
        elif self._unanswered:
            self._try(client, self._unanswered.pop(0))
        else:
            self._stop.wait(0.05)

    def _try(self, client: httpx2.Client, number: int) -> None:
        random = Random(f"{self._seed} {number}")
        custom_ids = [f"item-{index}" for index in range(random.choice((1, CHUNK, 2 * CHUNK, 2 * CHUNK + 7)))]
        answer = self._post(
            client,
            content=b"\n".join(_request(custom_id, number) for custom_id in custom_ids),
            headers={"content-type": "application/x-ndjson", "idempotency-key": f"chaos-{self._seed}-{number}"},
            params={"chunk_items": str(CHUNK), "callback_url": self._receiver.url},
        )
        if answer is None:
            self._unanswered.append(number)
            time.sleep(PAUSE)
        else:
            self._ledger.accepted(answer["id"], custom_ids)

    def _post(self, client: httpx2.Client, **request: Any) -> dict[str, Any] | None:
        try:
            answer = client.post(f"{self._server()}/v1/batches", **request)
        except httpx2.HTTPError as error:
            self._ledger.refused[type(error).__name__] += 1
            return None
        if answer.status_code == 202:
            return dict(answer.json())
        self._ledger.refused[str(answer.status_code)] += 1
        if answer.status_code not in (409, 503):
            raise AssertionError(f"a good submission was answered {answer.status_code}: {answer.text}")
        return None


def _request(custom_id: str, number: int) -> bytes:
    message = {"role": "user", "content": f"question {number}"}
    params = {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [message]}
    return msgspec.json.encode({"custom_id": custom_id, "params": params})
