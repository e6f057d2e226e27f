"""A payload codec behind an endpoint: what workers encode is readable in the log."""

import asyncio
import secrets
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
import pytest_asyncio
import uvicorn
from google.protobuf import json_format
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.client import Client as TemporalClient
from temporalio.common import RawValue
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadCodec

import app.worker
from app.servers import free_port
from app.settings import Settings
from resolvers.context import Services
from tests import factories
from tests.client import Client, serving, tracking
from tests.eventually import eventually
from tests.temporal.scene import Scene, failures

ENCODING = b"binary/zlib"
PREFIX = "/codec"
AUTH = "Bearer of the codec"
GREETING = ["Hello, Ada!", "Goodbye, Ada!"]
FAILURE = "4900 cents not paid after 3 attempts: card declined on attempt 3"


class Zlib(PayloadCodec):
    """What the workers use: it compresses whole payloads."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [sealed(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [opened(payload) for payload in payloads]


def sealed(payload: Payload) -> Payload:
    return Payload(metadata={"encoding": ENCODING}, data=zlib.compress(payload.SerializeToString()))


def opened(payload: Payload) -> Payload:
    if payload.metadata["encoding"] != ENCODING:
        return payload
    return Payload.FromString(zlib.decompress(payload.data))


class Endpoint:
    """A codec server, as Temporal's remote codecs are served."""

    def __init__(self) -> None:
        self.port = free_port()
        self.answer: Response | None = None
        self.requests: list[Request] = []
        routes = [Route(f"{PREFIX}/{what}", self._apply, methods=["POST"]) for what in ("encode", "decode")]
        self._app = Starlette(routes=routes)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PREFIX}"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        config = uvicorn.Config(
            self._app, port=self.port, log_config=None, timeout_graceful_shutdown=1, lifespan="off"
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        await eventually(lambda: server.started)
        try:
            yield
        finally:
            server.should_exit = True
            await task

    def asked_beyond(self, count: int) -> bool:
        return len(self.requests) > count

    async def _apply(self, request: Request) -> Response:
        self.requests.append(request)
        if self.answer is not None:
            return self.answer
        step = sealed if request.url.path.endswith("encode") else opened
        given = json_format.Parse(await request.body(), Payloads())
        try:
            answer = Payloads(payloads=[step(payload) for payload in given.payloads])
        except zlib.error:
            return PlainTextResponse("not compressed by us", 400)
        return Response(json_format.MessageToJson(answer), media_type="application/json")


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def settings(settings: Settings, endpoint: Endpoint) -> Settings:
    return settings.model_copy(
        update={"temporal_codec_endpoint": endpoint.url, "temporal_codec_auth": SecretStr(AUTH)}
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def encoding_client(temporal_address: str) -> TemporalClient:
    """What a program that encodes all its payloads and failures connects with."""
    converter = replace(
        DataConverter.default,
        payload_codec=Zlib(),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
    return await TemporalClient.connect(temporal_address, data_converter=converter)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def worker(encoding_client: TemporalClient) -> AsyncIterator[str]:
    queue = f"encoding-{secrets.token_hex(4)}"
    task = asyncio.create_task(app.worker.run(encoding_client, ["examples", "tests.samples"], queue))
    yield queue
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def scene(
    services: Services, settings: Settings, alice: Client, encoding_client: TemporalClient, worker: str
) -> Scene:
    return Scene(services, settings, alice, encoding_client, worker)


async def test_what_workers_encode_is_readable(scene: Scene, endpoint: Endpoint) -> None:
    async with endpoint.listening(), scene.tracker():
        id = await scene.waiting()
        await scene.handle(id).signal("unheard of", args=[{"a": [1, None]}, "two"])
        await scene.approve(id)
        row = await scene.ends(id)

    log = await scene.log(id)
    assert row.output == GREETING
    assert log[2].details == {"signal": "unheard of", "arguments": [{"a": [1, None]}, "two"]}
    assert {request.headers["authorization"] for request in endpoint.requests} == {AUTH}
    assert {request.headers["x-namespace"] for request in endpoint.requests} == {"default"}


async def test_what_is_sent_to_workers_is_encoded(
    scene: Scene, endpoint: Endpoint, temporal_client: TemporalClient
) -> None:
    async with endpoint.listening():
        id = await scene.waiting()

    (started,) = [
        event.workflow_execution_started_event_attributes
        async for event in temporal_client.get_workflow_handle(scene.handle(id).id).fetch_history_events()
        if event.HasField("workflow_execution_started_event_attributes")
    ]
    (given,) = started.input.payloads
    assert given.metadata["encoding"] == ENCODING
    assert opened(given).data == b'"Ada"'


async def test_an_end_by_hand_is_encoded_and_read_again(
    scene: Scene, endpoint: Endpoint, temporal_client: TemporalClient
) -> None:
    async with endpoint.listening():
        id = await scene.waiting()
        answer = await factories.asked(
            scene.alice, factories.UPDATE, id, status="COMPLETED", output={"secret": 1}, message="psst"
        )

    assert answer["execution"]["output"] == {"secret": 1}
    assert (await scene.log(id))[-1].message == "Completed by hand: psst"
    history = [
        each async for each in temporal_client.get_workflow_handle(scene.handle(id).id).fetch_history_events()
    ]
    mark, *details = history[-1].workflow_execution_terminated_event_attributes.details.payloads
    assert b"COMPLETED" in mark.data
    assert [each.metadata["encoding"] for each in details] == [ENCODING] * 2
    assert b"psst" not in history[-1].SerializeToString()


async def test_while_the_endpoint_is_away_nothing_is_ended_by_hand(scene: Scene, endpoint: Endpoint) -> None:
    async with endpoint.listening():
        id = await scene.waiting()

    answer = await factories.asked(scene.alice, factories.UPDATE, id, status="COMPLETED", output=1)

    assert (answer["code"], answer["message"]) == ("UNAVAILABLE", "The codec endpoint does not answer.")
    assert await scene.types(id) == ["EXECUTION_CREATED", "EXECUTION_STARTED"]
    await scene.handle(id).terminate()


async def test_encoded_failures_are_restored(scene: Scene, endpoint: Endpoint) -> None:
    async with endpoint.listening(), scene.tracker():
        id = await scene.start("PaymentWorkflow", {"retry_seconds": 0.01})
        row = await scene.ends(id)

    log = await scene.log(id)
    assert (row.failure["message"], row.failure["type"]) == (FAILURE, "PaymentDeclined")
    assert "payment.py" in row.failure["stack_trace"]
    assert log[-1].message == f"Failed: {FAILURE}"
    assert "Encoded failure" not in repr(log)


async def test_without_an_endpoint_it_is_told_what_is_there(scene: Scene, settings: Settings) -> None:
    plain = settings.model_copy(update={"temporal_codec_endpoint": None})

    async with serving(plain) as api, api.client("alice") as alice:
        greeted = await scene.waiting(alice)
        declined = await scene.start("PaymentWorkflow", {"retry_seconds": 0.01}, alice)
        await scene.handle(greeted).signal("approve", "now")
        async with tracking(plain):
            ended = [await scene.ends(id) for id in (greeted, declined)]

    output = ended[0].output
    assert output == {"encoding": "binary/zlib", "size": output["size"]}
    (argument,) = (await scene.log(greeted))[2].details["arguments"]
    assert argument == {"encoding": "binary/zlib", "size": argument["size"]}
    assert ended[1].failure["message"] == "Encoded failure"


async def test_a_start_waits_for_the_endpoint(
    scene: Scene, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    id = await scene.start("GreetingWorkflow", "Ada")
    assert (await scene.row(id)).status == "PENDING"

    async with scene.tracker(start_grace_seconds=0.01):
        await eventually(lambda: "The tracker cannot settle" in caplog.text)
        async with endpoint.listening():
            await scene.reaches(id)
            await scene.approve(id)
            assert (await scene.ends(id)).output == GREETING
    assert failures(caplog) == []


async def test_an_end_waits_for_the_endpoint(
    scene: Scene, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene.tracker():
        async with endpoint.listening():
            id = await scene.waiting()
            await scene.reaches(id)
        await scene.handle(id).signal("approve")
        await scene.handle(id).result()
        await eventually(
            lambda: "The tracker cannot follow: The codec endpoint does not answer." in caplog.messages
        )
        assert "EXECUTION_COMPLETED" not in await scene.types(id)

        async with endpoint.listening():
            assert (await scene.ends(id)).output == GREETING
    assert failures(caplog) == []


async def test_what_the_endpoint_refuses_is_told_as_it_is(
    scene: Scene, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = {
        "HTTP 400": PlainTextResponse("no", 400),
        "HTTP 422": PlainTextResponse("no", 422),
        "its answer is not a list of payloads": PlainTextResponse('{"payloads": 17}'),
        "0 answers to 1 payloads": PlainTextResponse('{"payloads": []}'),
    }
    garbage = [PlainTextResponse("{"), Response(b"\xff\x00"), PlainTextResponse("[" * 10_000)]

    async with endpoint.listening(), scene.tracker():
        *refused, readable = [await scene.waiting() for _ in range(len(refusals) + len(garbage) + 1)]
        outputs = []
        for id, endpoint.answer in zip(refused, [*refusals.values(), *garbage], strict=True):
            await scene.approve(id)
            outputs.append((await scene.ends(id)).output)
        endpoint.answer = None
        await scene.approve(readable)
        assert (await scene.ends(readable)).output == GREETING

    assert outputs == [{"encoding": "binary/zlib", "size": outputs[0]["size"]}] * len(refused)
    nonsense = "its answer is not a list of payloads"
    assert [message for message in caplog.messages if "refuses" in message] == [
        f"The codec endpoint refuses to decode: {why}" for why in (*refusals, nonsense)
    ]
    assert failures(caplog) == []


async def test_a_failing_endpoint_is_waited_for(
    scene: Scene, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    statuses = [302, 401, 404, 429, 502]

    async with endpoint.listening(), scene.tracker():
        ids = [await scene.waiting() for _ in statuses]
        for id, status in zip(ids, statuses, strict=True):
            endpoint.answer = PlainTextResponse("not now", status)
            await scene.approve(id)
            asked = len(endpoint.requests)
            await eventually(partial(endpoint.asked_beyond, asked))
            assert "EXECUTION_COMPLETED" not in await scene.types(id)

        endpoint.answer = None
        for id in ids:
            assert (await scene.ends(id)).output == GREETING
    assert failures(caplog) == []


async def test_what_one_cannot_decode_spoils_no_other(
    scene: Scene, endpoint: Endpoint, temporal_client: TemporalClient
) -> None:
    good = sealed(Payload(metadata={"encoding": b"json/plain"}, data=b"17"))
    foreign = Payload(metadata={"encoding": ENCODING}, data=b"not compressed")

    async with endpoint.listening(), scene.tracker():
        id = await scene.waiting()
        handle = temporal_client.get_workflow_handle(scene.handle(id).id)
        await handle.signal("unheard of", args=[RawValue(each) for each in (good, foreign, good)])
        await scene.handle(id).terminate()
        await scene.ends(id)

    sizes = {"encoding": "binary/zlib", "size": len(foreign.data)}
    assert (await scene.log(id))[2].details["arguments"] == [17, sizes, 17]
