"""executionUpdated: the newest state of each changed execution that matches."""

from typing import Any

import pytest

from app.errors import Unavailable
from resolvers.context import Services
from tests import factories
from tests.client import Client, Socket
from tests.eventually import eventually

UPDATED = """
subscription ($filter: ExecutionFilter) { executionUpdated(filter: $filter) { id version labels { key } } }
"""


async def test_a_search_goes_on_after_an_outage(
    alice: Client, services: Services, outages: list[Unavailable]
) -> None:
    (id,) = await factories.recorded(services, "alice", await factories.workflow(alice, "orders"), 1)

    async with alice.socket() as socket:
        await socket.subscribe("1", UPDATED, {"filter": {"search": id[:8]}})
        await begun(services, id, socket)
        outages.append(Unavailable("away"))
        await factories.note(services, id)
        assert (await socket.next())["executionUpdated"]["id"] == id

    assert not outages


async def begun(services: Services, id: str, socket: Socket) -> None:
    """Return when the subscription, which must match the execution, stands: nothing else says so."""

    async def told() -> bool:
        await factories.note(services, id)
        try:
            await socket.receive(timeout_seconds=0.2)
        except TimeoutError:
            return False
        return True

    await eventually(told)


async def next_of(socket: Socket, other_than: str) -> Any:
    """The next state of another execution."""
    while (told := (await socket.next())["executionUpdated"])["id"] == other_than:
        pass
    return told


@pytest.mark.parametrize(
    "chosen",
    [
        {"labels": [{"key": "env", "value": "prod"}]},
        {"search": "PROD"},
        {"search": "paym"},
        {"search": "pa", "status": ["PENDING"], "labels": [{"key": "env", "value": "prod"}]},
    ],
)
async def test_it_tells_of_those_that_match_alone(
    alice: Client, services: Services, chosen: dict[str, Any]
) -> None:
    payments = await factories.workflow(alice, "orders", name="Payments")
    orders = await factories.workflow(alice, "orders", name="Orders")
    known, matching = await factories.recorded(services, "alice", payments, 2, labels={"env": "prod"})
    (other,) = await factories.recorded(services, "alice", orders, 1, labels={"env": "test"})

    async with alice.socket() as socket:
        await socket.subscribe("1", UPDATED, {"filter": chosen})
        await begun(services, known, socket)
        await factories.note(services, other)
        await factories.note(services, matching)
        told = await next_of(socket, known)

    assert told == {"id": matching, "version": 2, "labels": [{"key": "env"}]}


async def test_a_filter_out_of_bounds_is_refused(alice: Client) -> None:
    error = await alice.refusal(UPDATED, filter={"search": ""})

    assert error["extensions"] == {
        "code": "INVALID_INPUT",
        "issues": [{"path": "/filter/search", "message": "must not be empty"}],
    }
