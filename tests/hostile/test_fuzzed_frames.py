"""Frames by chance on a WebSocket: the server answers or closes with a code of the protocol, and lives on."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from websockets import ConnectionClosed
from websockets.asyncio.client import ClientConnection

from app import auth
from tests import factories
from tests.client import SECRET, Api, Client, connected
from tests.unit.values import ANY_JSON, KEPT_TEXT

Quiet = Callable[[], None]
Frame = str | bytes

# 1003 and 1007 to 1009 are WebSocket's own: unsupported data, no text, a policy, too big.
CLOSES = {1003, 1007, 1008, 1009, 4400, 4401, 4403, 4408, 4409, 4429}
LAST = "the last one"
INIT = {"type": "connection_init", "payload": {"Authorization": f"Bearer {auth.mint(SECRET, 'alice')}"}}

IDS = st.sampled_from(["1", "2", "", "é", "x" * 300])
QUERIES = st.sampled_from(
    [
        "{ viewer { id } }",
        factories.FEED,
        factories.EVENTS,
        factories.CREATE_WORKFLOW,
        "subscription { executionStats { total } }",
        "query A { viewer { id } } query B { __typename }",
        "{ nonsense }",
        "{",
        "",
        "fragment A on Query { ...A }",
        '{ workflow(id: "\\ud800") { id } }',
    ]
)
OPERATIONS = st.fixed_dictionaries(
    {"query": QUERIES},
    optional={
        "variables": st.dictionaries(st.sampled_from(["id", "after", "input"]), ANY_JSON, max_size=2),
        "operationName": st.sampled_from(["A", "B", "", None]),
        "extensions": st.dictionaries(st.text(max_size=3), ANY_JSON, max_size=1),
    },
)
MESSAGES = st.one_of(
    st.fixed_dictionaries({"type": st.just("subscribe"), "id": IDS, "payload": OPERATIONS}),
    st.fixed_dictionaries({"type": st.just("complete"), "id": IDS}),
    st.fixed_dictionaries({"type": st.sampled_from(["ping", "pong"])}, optional={"payload": ANY_JSON}),
)
KEYS = ["type", "id", "payload", "query", "variables", "operationName", "extensions"]


@st.composite
def broken(draw: st.DrawFn) -> dict[str, Any]:
    """A message with one key taken away, added, or of any value at all."""
    message = dict(draw(st.one_of(MESSAGES, st.just(INIT))))
    payload = message.get("payload")
    if isinstance(payload, dict) and draw(st.booleans()):
        return {**message, "payload": _spoilt(draw, payload)}
    return _spoilt(draw, message)


def _spoilt(draw: st.DrawFn, object: dict[str, Any]) -> dict[str, Any]:
    key = draw(st.sampled_from(KEYS))
    rest = {name: value for name, value in object.items() if name != key}
    return {**rest, key: draw(ANY_JSON)} if draw(st.booleans()) else rest


@st.composite
def cut(draw: st.DrawFn) -> str:
    """The text of a message, not all of it."""
    text = json.dumps(draw(MESSAGES))
    return text[: draw(st.integers(0, len(text) - 1))]


FRAMES: st.SearchStrategy[Frame] = st.one_of(
    MESSAGES.map(json.dumps),
    MESSAGES.map(json.dumps),
    broken().map(json.dumps),
    ANY_JSON.map(json.dumps),
    KEPT_TEXT,
    cut(),
    st.binary(max_size=100),
    MESSAGES.map(lambda message: json.dumps(message).encode()),
)


@given(begun=st.booleans(), frames=st.lists(FRAMES, min_size=1, max_size=8))
@settings(max_examples=300, suppress_health_check=[*HealthCheck], phases=[Phase.explicit, Phase.generate])
async def test_frames(quiet_log: Quiet, api: Api, alice: Client, begun: bool, frames: list[Frame]) -> None:
    async with connected(api) as connection:
        code = await _closed(connection, [*[json.dumps(INIT)] * begun, *frames])

    assert code is None or code in CLOSES, code
    quiet_log()
    assert await alice.data("{ viewer { id } }") == {"viewer": {"id": "alice"}}


async def _closed(connection: ClientConnection, frames: list[Frame]) -> int | None:
    """The code with which the server closes; None where it still answers after all frames."""
    last = {"type": "subscribe", "id": LAST, "payload": {"query": "{ viewer { id } }"}}
    try:
        for frame in frames:
            await connection.send(frame)
        await connection.send(json.dumps(last))
        while json.loads(await connection.recv()).get("id") != LAST:
            pass
    except ConnectionClosed:
        return connection.close_code
    return None
