"""Operations by chance over the whole schema: each is answered, or refused as a mistake of the client's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import graphql
import httpx
import pytest
import pytest_asyncio
from graphql import DocumentNode, StringValueNode
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounds
from hypothesis import strategies as st
from hypothesis_graphql import Mode, from_schema, nodes, queries

from app.settings import Settings
from tests import factories
from tests.client import Client
from tests.clients.programs import ROOT
from tests.unit.values import KEPT_TEXT

Quiet = Callable[[], None]

SDL = (ROOT / "schema.graphql").read_text()
# As if its root were the queries': the library generates no subscriptions.
STREAMS = SDL + "\nschema { query: Subscription }\n"
IDS = {"id", "executionId", "workflowId", "execution", "workflow"}
IMPOSSIBLE = {"INTERNAL", "UNAUTHENTICATED"}

SCALARS = st.one_of(
    st.none().map(lambda _: graphql.NullValueNode()),
    st.booleans().map(nodes.Boolean),
    st.integers().map(nodes.Int),
    st.floats(allow_nan=False, allow_infinity=False).map(nodes.Float),
    st.text().map(nodes.String),
)
LITERALS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(nodes.List)
        | st.dictionaries(st.from_regex(r"[a-zA-Z_]\w{0,5}", fullmatch=True), inner, max_size=3).map(
            lambda fields: nodes.Object(
                [
                    graphql.ObjectFieldNode(name=graphql.NameNode(value=name), value=value)
                    for name, value in fields.items()
                ]
            )
        )
    ),
    max_leaves=6,
)
MOMENTS = (
    st.datetimes(timezones=st.timezones()).map(lambda moment: nodes.String(moment.isoformat())) | SCALARS
)
CUSTOM = {"DateTime": MOMENTS, "JSON": LITERALS}

shared = bounds(
    max_examples=150,
    suppress_health_check=[*HealthCheck],
    # What fails is told as it was: to shrink it would take minutes.
    phases=[Phase.explicit, Phase.generate],
)


def documents(mode: Mode) -> st.SearchStrategy[DocumentNode]:
    """Queries and mutations: valid ones, or with one thing wrong."""
    return from_schema(SDL, custom_scalars=CUSTOM, mode=mode, print_ast=lambda document: document)


@dataclass(frozen=True)
class Target:
    """A user, and the ids of what she and somebody else have."""

    client: Client
    ids: list[str]

    def text(self, document: DocumentNode) -> str:
        """The document, three of four ids in it being those of something."""
        return graphql.print_ast(graphql.visit(document, _Known(self.ids)))


class _Known(graphql.Visitor):
    """Puts known ids in place of most that were made up."""

    def __init__(self, ids: list[str]) -> None:
        super().__init__()
        self._ids = ids

    def enter_argument(self, node: graphql.ArgumentNode, *_: Any) -> Any:
        return self._known(node)

    def enter_object_field(self, node: graphql.ObjectFieldNode, *_: Any) -> Any:
        return self._known(node)

    def _known(self, node: Any) -> Any:
        if node.name.value not in IDS or not isinstance(node.value, StringValueNode):
            return None
        place = len(node.value.value) % (len(self._ids) + 1)
        if place == len(self._ids):
            return None
        return type(node)(name=node.name, value=StringValueNode(value=self._ids[place]))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nobody is told to come back later: every operation is to be executed."""
    return settings.model_copy(update={"mutations_per_minute": 0, "cost_per_minute": 0})


@pytest_asyncio.fixture
async def target(alice: Client, bob: Client) -> Target:
    mine, theirs = await factories.stuck(alice), await factories.stuck(bob)
    queue = f"nobody-{uuid4().hex}"
    return Target(alice, [mine["id"], await factories.workflow(alice, queue), theirs["id"]])


def check_answered(response: httpx.Response) -> None:
    """Fail the test unless this is an answer of GraphQL's that owns up to no fault of the server."""
    assert response.status_code < 500, response.text
    check_codes(response.json().get("errors", []))


def check_codes(errors: list[dict[str, Any]]) -> None:
    """Fail the test where an error is the server's own."""
    codes = {error["extensions"]["code"] for error in errors}
    assert not codes & IMPOSSIBLE, errors


@given(document=documents(Mode.POSITIVE))
@shared
async def test_valid_operations(quiet_log: Quiet, target: Target, document: DocumentNode) -> None:
    check_answered(await target.client.post(target.text(document)))

    quiet_log()


@given(document=documents(Mode.NEGATIVE))
@shared
async def test_invalid_operations(quiet_log: Quiet, target: Target, document: DocumentNode) -> None:
    check_answered(await target.client.post(target.text(document)))

    quiet_log()


@given(document=queries(STREAMS, custom_scalars=CUSTOM, print_ast=lambda document: document))
@shared
async def test_subscriptions(quiet_log: Quiet, target: Target, document: DocumentNode) -> None:
    query = f"subscription {target.text(document)}"

    async with target.client.socket() as socket:
        await socket.subscribe("1", query)
        await socket.send(id="1", type="complete")
        await socket.subscribe("2", "{ viewer { id } }")
        while (message := await socket.receive())["id"] == "1":
            payload = message.get("payload", {})
            check_codes(payload if message["type"] == "error" else payload.get("errors", []))
        assert message["payload"] == {"data": {"viewer": {"id": "alice"}}}

    quiet_log()


BODIES = st.one_of(
    st.binary(max_size=200),
    st.text().map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from([b"[]", b"null", b'{"query": null}', b'{"query": "{ viewer { id } }", "variables": 1}']),
)
KINDS = st.sampled_from(
    [
        "application/json",
        "application/json; charset=utf-16",
        "text/plain",
        "multipart/form-data; boundary=x",
        "",
    ]
)
ACCEPTS = st.sampled_from(
    [
        "*/*",
        "text/event-stream",
        "multipart/mixed",
        "application/graphql-response+json",
        "image/png",
        "",
        ";;,q=",
    ]
)
METHODS = st.sampled_from(["POST", "GET", "PUT", "OPTIONS", "HEAD", "PATCH", "NONSENSE"])


REQUESTS = st.fixed_dictionaries(
    {
        "method": METHODS,
        "content": BODIES,
        "params": st.fixed_dictionaries({}, optional={"query": KEPT_TEXT, "variables": KEPT_TEXT}),
        "headers": st.fixed_dictionaries({"Content-Type": KINDS, "Accept": ACCEPTS}),
    }
)


@given(request=REQUESTS)
@shared
async def test_requests(quiet_log: Quiet, alice: Client, request: dict[str, Any]) -> None:
    response = await alice.http.request(url=alice.api.url, **request)

    assert response.status_code < 500, response.text
    quiet_log()
