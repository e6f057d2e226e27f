"""Who gets in, over HTTP and over WebSocket, and what their scopes allow."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from app import auth, main
from app.lines import EXTENSION, Listener
from app.logs import Format
from app.paging import feed_cursor
from app.settings import Settings
from resolvers.context import Services
from tests import factories
from tests.client import RESPONSE_TYPE, SECRET, Api, Client, Socket, connected, serving

Quiet = Callable[[], None]

VIEWER = "{ viewer { id } }"
DIGESTS = {"HS256": hashlib.sha256, "HS512": hashlib.sha512}
UNAUTHENTICATED, FORBIDDEN, NOT_INITIALISED, TOO_LATE, TOO_OFTEN = 401, 4403, 4401, 4408, 4429


def signed(
    claims: object = None,
    *,
    algorithm: str = "HS256",
    secret: str = SECRET,
    without: str | None = None,
    **more: Any,
) -> str:
    """A token that no library would sign for us: Alice's, for an hour, but for what is given."""
    usual = {"sub": "alice", "exp": int(time.time()) + 3600, **more}
    usual.pop(without or "", None)
    parts = [{"alg": algorithm, "typ": "JWT"}, usual if claims is None else claims]
    text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    digest = hmac.digest(secret.encode(), text.encode(), DIGESTS[algorithm])
    return f"{text}.{encoded(digest)}"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def rs256() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode({"sub": "alice", "exp": 2**32}, key, algorithm="RS256")


def unsigned() -> str:
    return jwt.encode({"sub": "alice", "exp": 2**32}, "", algorithm="none")


BAD_TOKENS = {
    "garbage": "garbage",
    "three garbage parts": "a.b.c",
    "expired": signed(exp=int(time.time()) - 1),
    "signed with another secret": signed(secret="another secret that has 32 bytes too"),
    "signature cut off": signed().rpartition(".")[0] + ".",
    "unsigned": unsigned(),
    "HS512": signed(algorithm="HS512"),
    "RS256": rs256(),
    "no expiry": signed(without="exp"),
    "expiry null": signed(exp=None),
    "expiry a text": signed(exp=str(int(time.time()) + 3600)),
    "expiry a list": signed(exp=[int(time.time()) + 3600]),
    "expiry an object": signed(exp={}),
    "expiry far out": signed(exp=10**30),
    "expiry infinite": signed(exp=float("inf")),
    "expiry no number": signed(exp=float("nan")),
    "not valid yet": signed(nbf=int(time.time()) + 600),
    "valid from a list": signed(nbf=[]),
    "issued in the future": signed(iat=int(time.time()) + 600),
    "no subject": signed(without="sub"),
    "subject null": signed(sub=None),
    "subject empty": signed(sub=""),
    "subject a number": signed(sub=7),
    "subject of 256 characters": signed(sub="a" * 256),
    "subject with NUL": signed(sub="ali\x00ce"),
    "subject with a line break": signed(sub="alice\n"),
    "subject with a lone surrogate": signed(sub="\ud800"),
    "scope a number": signed(scope=7),
    "scope a list of numbers": signed(scope=[7]),
    "scope with a lone surrogate": signed(scope="\ud800"),
    "claims a list": signed([]),
    "claims a text": signed("alice"),
}
BAD_HEADERS = {
    "missing": None,
    "empty": "",
    "no scheme": signed(),
    "another scheme": "Basic YWxpY2U6",
    "no token": "Bearer",
    "two tokens": f"Bearer {signed()} {signed()}",
    "not ASCII": "Bearer é.é.é",
    "subject of 40 kB": f"Bearer {signed(sub='a' * 40_000)}",
    **{name: f"Bearer {token}" for name, token in BAD_TOKENS.items()},
}


def init(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def initialised(api: Api, payload: Any, query: str = "") -> Any:
    """The server's answer to connection_init: a message, or the code with which it closes."""
    async with connected(api, query) as connection:
        socket = Socket(connection)
        await socket.send(type="connection_init", payload=payload)
        try:
            return await socket.receive()
        except Exception:  # noqa: BLE001 - closed, in whatever way
            return (await socket.closed())[0]


async def test_over_http_nobody_gets_in_without_a_good_token(
    quiet_log: Quiet, api: Api, subtests: pytest.Subtests
) -> None:
    async with httpx.AsyncClient(verify=False) as http:
        for name, header in BAD_HEADERS.items():
            with subtests.test(name):
                headers = {} if header is None else {b"Authorization": header.encode("latin-1")}

                response = await http.post(api.url, json={"query": VIEWER}, headers=headers)

                assert response.status_code == UNAUTHENTICATED
                assert response.headers["content-type"] == RESPONSE_TYPE
                assert response.headers["www-authenticate"] == "Bearer"
                (error,) = response.json()["errors"]
                assert error["extensions"] == {"code": "UNAUTHENTICATED"}
                assert set(response.json()) == {"errors"}
                quiet_log()


async def test_over_websocket_nobody_gets_in_without_a_good_token(
    quiet_log: Quiet, api: Api, subtests: pytest.Subtests
) -> None:
    rows = {
        "no payload": None,
        "empty": {},
        "another key": {"token": signed()},
        "a number": {"Authorization": 7},
        "null": {"Authorization": None},
        "subject of 500 kB": init(signed(sub="a" * 500_000)),
        **{name: {"Authorization": header} for name, header in BAD_HEADERS.items() if "kB" not in name},
    }
    for name, payload in rows.items():
        with subtests.test(name):
            assert await initialised(api, payload) == FORBIDDEN
            quiet_log()


async def test_a_good_token_gets_in_however_its_header_is_written(
    api: Api, subtests: pytest.Subtests
) -> None:
    for written in ("Bearer {}", "bearer {}", "BEARER {}", "  Bearer   {}  "):
        with subtests.test(written):
            header = written.format(signed())

            async with httpx.AsyncClient(headers={"Authorization": header.strip()}) as http:
                response = await http.post(api.url, json={"query": VIEWER})

            assert response.json() == {"data": {"viewer": {"id": "alice"}}}
            assert await initialised(api, {"Authorization": header}) == {"type": "connection_ack"}


async def test_of_two_tokens_the_first_counts(api: Api) -> None:
    headers = [("Authorization", f"Bearer {signed(sub=name)}") for name in ("alice", "bob")]

    async with httpx.AsyncClient(headers=headers) as http:
        response = await http.post(api.url, json={"query": VIEWER})

    assert response.json() == {"data": {"viewer": {"id": "alice"}}}


async def test_the_key_of_the_init_payload_may_be_in_any_letter_case(api: Api) -> None:
    for key in ("Authorization", "authorization", "AUTHORIZATION", "aUthORization"):
        assert await initialised(api, {"x": [None], key: f"Bearer {signed()}"}) == {"type": "connection_ack"}


async def test_who_speaks_as_alice_is_alice(api: Api) -> None:
    async with api.bearing(signed()) as client, client.socket() as socket:
        await socket.subscribe("1", VIEWER)

        assert await socket.next() == {"viewer": {"id": "alice"}}


async def test_a_token_in_the_url_gets_in_and_into_no_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    token = signed()
    # This side of the socket logs its own request line.
    caplog.set_level(logging.WARNING, "websockets.client")
    caplog.set_level(logging.DEBUG)

    for payload, query in (({}, f"?token={token}"), (None, f"?token={token}"), (init(token), "")):
        assert await initialised(api, payload, query) == {"type": "connection_ack"}
    refused = await initialised(api, {}, f"?token={signed(exp=1)}")

    assert refused == FORBIDDEN
    lines = [Format(as_json=True).format(record) for record in caplog.records]
    assert any("/graphql?[token]" in line for line in lines)
    secrets = token.split(".")[1:]
    assert not [line for line in lines if any(secret in line for secret in secrets)]


async def test_the_init_payload_goes_before_the_url(api: Api) -> None:
    async with connected(api, f"?token={signed(sub='bob')}") as connection:
        socket = Socket(connection)
        await socket.send(type="connection_init", payload=init(signed()))
        assert await socket.receive() == {"type": "connection_ack"}
        await socket.subscribe("1", VIEWER)

        assert await socket.next() == {"viewer": {"id": "alice"}}


async def test_a_token_in_the_url_is_none_for_http(api: Api) -> None:
    async with httpx.AsyncClient(verify=False) as http:
        response = await http.post(f"{api.url}?token={signed()}", json={"query": VIEWER})

    assert response.status_code == UNAUTHENTICATED


async def test_a_socket_without_init_is_closed_in_time(quiet_log: Quiet, settings: Settings) -> None:
    hasty = settings.model_copy(update={"connection_init_timeout_seconds": 0.3})

    async with serving(hasty) as api:
        began = time.monotonic()
        async with connected(api) as connection:
            code, reason = await Socket(connection).closed()
        waited = time.monotonic() - began

    assert (code, reason) == (TOO_LATE, "Connection initialisation timeout")
    assert 0.3 <= waited < 5


async def test_nothing_is_done_before_the_init(quiet_log: Quiet, alice: Client) -> None:
    before = await factories.holdings(alice)
    input = {"name": "n", "workflowType": "t", "taskQueue": "q"}

    async with connected(alice.api) as connection:
        socket = Socket(connection)
        await socket.subscribe("1", factories.CREATE_WORKFLOW, {"input": input})
        code, _ = await socket.closed()

    assert code == NOT_INITIALISED
    assert await factories.holdings(alice) == before


async def test_a_second_init_closes_the_socket(quiet_log: Quiet, alice: Client) -> None:
    async with alice.socket() as socket:
        await socket.send(type="connection_init", payload=init(alice.token))
        code, _ = await socket.closed()

    assert code == TOO_OFTEN


async def test_a_socket_lives_no_longer_than_its_token(quiet_log: Quiet, api: Api) -> None:
    expiry = int(time.time()) + 5

    async with api.bearing(signed(exp=expiry)) as brief, brief.socket() as socket:
        await socket.subscribe("1", factories.FEED)
        closed = await socket.closed()
        late = await brief.post(VIEWER)

    assert closed == (FORBIDDEN, "The token has expired: get a new one.")
    assert expiry <= time.time() < expiry + 2
    assert late.status_code == UNAUTHENTICATED


async def test_nothing_is_sent_to_an_expired_socket_however_late_its_peer_leaves(
    quiet_log: Quiet, settings: Settings, services: Services, alice: Client
) -> None:
    workflow_id = await factories.workflow(alice, "nobody")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    app = main.create_app(settings)
    feed = {"query": factories.FEED, "variables": {"after": feed_cursor(0)}}

    async with app.router.lifespan_context(app) as state:
        peer = Peer()
        await app(peer.scope(state), peer.incoming.get, peer.outgoing.put)
        sent = [await peer.hear()]
        peer.tell(type="connection_init", payload=init(signed(exp=int(time.time()) + 5)))
        sent.append(await peer.hear())
        peer.tell(id="1", type="subscribe", payload=feed)
        sent += [await peer.hear() for _ in range(2)]
        await factories.note(services, id, count=3)
        async with alice.socket() as other:
            await other.subscribe("1", factories.FEED, {"after": feed_cursor(3)})
            await other.next()

    assert [message["type"] for message in sent] == [
        "websocket.accept",
        "websocket.send",
        "websocket.send",
        "websocket.close",
    ]
    assert sent[-1]["code"] == FORBIDDEN
    assert peer.outgoing.empty()


class Peer:
    """The other side of a socket, and its line, which would carry whatever is sent after the end."""

    closed = False

    def __init__(self) -> None:
        self.incoming = asyncio.Queue[dict[str, Any]]()
        self.outgoing = asyncio.Queue[Any]()
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.writable = asyncio.Event()
        self.writable.set()

    def scope(self, state: Any) -> dict[str, Any]:
        return {
            "type": "websocket",
            "path": "/graphql",
            "query_string": b"",
            "headers": [],
            "subprotocols": ["graphql-transport-ws"],
            "state": dict(state),
            "extensions": {EXTENSION: self},
        }

    def tell(self, **message: Any) -> None:
        self._listener.heard(json.dumps(message))

    async def hear(self) -> Any:
        return await asyncio.wait_for(self.outgoing.get(), 10)

    bare_file = None

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    def say(self, frame: bytes) -> None:
        self.outgoing.put_nowait({"type": "websocket.send", "bytes": frame})

    def offer(self, frame: bytes) -> bool:
        self.say(frame)
        return True

    def hang_up(self, code: int, reason: str) -> None:
        self.outgoing.put_nowait({"type": "websocket.close", "code": code, "reason": reason})
        self._listener.lost()

    def hold(self) -> None:
        """Nothing is said meanwhile."""

    def release(self) -> None:
        """Nothing was said meanwhile."""

    def attend(self, task: "asyncio.Task[Any]") -> None:
        self._task = task


async def test_a_scope_is_asked_for_before_an_id_is_looked_up(alice: Client) -> None:
    async with alice.api.client("alice", auth.READ_WORKFLOWS) as lacking:
        error = await lacking.error("query ($id: ID!) { execution(id: $id) { id } }", id=str(uuid4()))

    assert error["extensions"]["code"] == "FORBIDDEN"
