"""`Idempotency-Key` on every POST there is: many at once, and again after a crash at any moment."""

from __future__ import annotations

from typing import Any

import attrs
import sqlalchemy as sa
import trio
from tests.http.api import Answer, Api
from tests.http.test_audit import CHANGES, rows

from backburner.storage import tables
from backburner.storage.idempotency import HELD

#: All of them: another test demands that every route which changes something is in that table.
POSTS = [route for route in CHANGES if route.startswith("POST ")]
#: Switches, which may be pressed again without harm; their answers tell of more than they change.
SWITCHES = frozenset({"scheduler.poll", "scheduler.pause", "scheduler.resume", "scheduler.step_down"})


class Repeating(Api):
    """The same, always with one Idempotency-Key."""

    async def call(self, method: str, path: str, *, headers: Any = None, **options: Any) -> Answer:
        return await super().call(method, path, headers={**(headers or {}), "Idempotency-Key": "same"}, **options)


def repeating(api: Api) -> Api:
    return Repeating(**{field.name: getattr(api, field.name) for field in attrs.fields(Api)})


async def test_fifty_at_once_do_it_once(autojump_clock, api):
    for route in POSTS:
        await fifty_at_once(api, route)


async def fifty_at_once(api: Api, route: str) -> None:
    prepare, change, action = CHANGES[route]
    ids = await prepare(api)
    before, answers = len(await rows(api)), []

    async def send() -> None:
        answers.append(await change(repeating(api), ids))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(send)
    assert [row.action for row in (await rows(api))[before:]] == [action], route
    assert {answer.status for answer in answers if answer.status >= 300} <= {409}, route
    assert sum("idempotent-replayed" not in answer.headers for answer in answers if answer.status < 300) == 1, route
    again = await change(repeating(api), ids)
    assert (again.status < 300, again.headers["idempotent-replayed"]) == (True, "true"), route


class Killed(BaseException):
    """The process is gone."""


@attrs.define(eq=False)
class Killer:
    """Kills the process at a commit, which then does not happen; nothing that is dead commits either."""

    left: int  # commits until then

    def __call__(self, _: sa.Connection) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


async def killed_at(api: Api, commit: int, change: Any, ids: Any) -> bool:
    """Make the change and die at its n-th commit; whether it has so many."""
    killer, answered = Killer(commit), []
    sa.event.listen(api.database.writing, "commit", killer)
    try:
        answered.append(await change(repeating(api), ids))
    except* Killed:
        pass
    finally:
        sa.event.remove(api.database.writing, "commit", killer)
    return not answered


async def test_after_a_crash_it_is_done_once(autojump_clock, api_on_each):
    for route in POSTS:
        moments = 0
        while await dies_and_comes_back(api_on_each, route, moments):
            moments += 1
            await api_on_each.database.write(forget)
        assert 2 <= moments < 9, route


def forget(tx: sa.Connection) -> None:
    """So that the same request is a new one."""
    tx.execute(sa.delete(tables.idempotency_keys))
    tx.execute(sa.update(tables.provider_batches).values(provider_batch_id=None))


async def dies_and_comes_back(api: Api, route: str, commit: int) -> bool:
    """Whether the first attempt had so many commits that it died."""
    prepare, change, action = CHANGES[route]
    ids = await prepare(api)
    before = len(await rows(api))
    died = await killed_at(api, commit, change, ids)
    await trio.sleep(HELD.total_seconds())
    again = await change(repeating(api), ids)
    assert again.status < 300, (route, commit, again)
    done = [row.action for row in (await rows(api))[before:]]
    assert done == [action] or (action in SWITCHES and done == [action] * 2), (route, commit)
    return died
