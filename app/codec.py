"""A payload codec behind an HTTP endpoint: the protocol that Temporal's UI and CLI speak to codec servers."""

import logging
from collections.abc import Iterator, Sequence

import httpx
import orjson
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import PayloadCodec

from app.errors import Unavailable

log = logging.getLogger(__name__)

# What the default converter reads by itself.
_PLAIN = {b"json/plain", b"json/protobuf", b"binary/plain", b"binary/null", b"binary/protobuf"}

# What says that it is the payloads; any other failure is the endpoint's, and may pass.
_REFUSALS = {400, 422}


class _Refused(Exception):
    """The endpoint will not take these payloads, or does not speak the protocol."""


class RemoteCodec(PayloadCodec):
    """Encodes and decodes by asking the endpoint, `POST <endpoint>/encode` and `/decode`.

    Raises Unavailable while the endpoint does not answer. Payloads that it cannot decode stay as they are.
    """

    def __init__(self, endpoint: str, namespace: str, auth: str | None, timeout_seconds: float) -> None:
        headers = {"X-Namespace": namespace, "Content-Type": "application/json"}
        self._client = httpx.AsyncClient(
            base_url=endpoint,
            headers=headers if auth is None else {**headers, "Authorization": auth},
            timeout=timeout_seconds,
        )
        self._refusal: str | None = None

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads as workers expect them; raises Unavailable where the endpoint gives no such answer."""
        try:
            return await self._ask("encode", payloads)
        except _Refused as error:
            raise Unavailable(f"The codec endpoint refuses to encode: {error}.") from error

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The payloads in plain; those that the endpoint refuses as they are. Raises Unavailable."""
        try:
            opened = await self._ask("decode", payloads)
        except _Refused as error:
            if len(payloads) > 1:
                middle = len(payloads) // 2
                return await self.decode(payloads[:middle]) + await self.decode(payloads[middle:])
            self._note_refusal(str(error))
            return list(payloads)
        self._refusal = None
        return opened

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(self, what: str, payloads: Sequence[Payload]) -> list[Payload]:
        body = json_format.MessageToJson(Payloads(payloads=payloads), indent=None)
        try:
            response = await self._client.post(what, content=body)
        except httpx.RequestError as error:
            raise Unavailable("The codec endpoint does not answer.") from error
        if response.status_code in _REFUSALS:
            raise _Refused(f"HTTP {response.status_code}")
        if not response.is_success:
            raise Unavailable(f"The codec endpoint does not work: HTTP {response.status_code}.")
        return _answered(response, len(payloads))

    def _note_refusal(self, why: str) -> None:
        if self._refusal != why:
            log.warning("The codec endpoint refuses to decode: %s", why)
        self._refusal = why


async def decode_events(codec: PayloadCodec, events: Sequence[HistoryEvent]) -> None:
    """Decode, in place, the payloads of history events that the default converter cannot read."""
    payloads = [payload for event in events for payload in _read_payloads(event)]
    await decode(codec, payloads, [failure for event in events for failure in _read_failures(event)])


async def decode(codec: PayloadCodec, payloads: Sequence[Payload], failures: Sequence[Failure] = ()) -> None:
    """Decode, in place, payloads and failures, each with its causes, as far as they need it."""
    chained = [link for failure in failures for link in _chain(failure)]
    encoded = [failure.encoded_attributes for failure in chained if failure.HasField("encoded_attributes")]
    sealed = [payload for payload in (*payloads, *encoded) if not _is_plain(payload)]
    opened = await codec.decode(sealed) if sealed else []
    for payload, plain in zip(sealed, opened, strict=True):
        payload.CopyFrom(plain)
    for failure in chained:
        _restore(failure)


def _read_payloads(event: HistoryEvent) -> Iterator[Payload]:
    """The payloads that the event log takes from an event."""
    yield from event.workflow_execution_completed_event_attributes.result.payloads
    yield from event.workflow_execution_signaled_event_attributes.input.payloads
    yield from event.workflow_execution_terminated_event_attributes.details.payloads
    yield from event.workflow_execution_update_accepted_event_attributes.accepted_request.input.args.payloads


def _read_failures(event: HistoryEvent) -> Iterator[Failure]:
    """The failures that the event log takes from an event."""
    yield event.workflow_execution_failed_event_attributes.failure
    yield event.activity_task_failed_event_attributes.failure
    yield event.activity_task_started_event_attributes.last_failure
    yield event.child_workflow_execution_failed_event_attributes.failure
    yield event.workflow_execution_update_completed_event_attributes.outcome.failure


def _chain(failure: Failure) -> Iterator[Failure]:
    while failure.ByteSize():
        yield failure
        failure = failure.cause


def _restore(failure: Failure) -> None:
    """Put an encoded failure's message and stack trace back, where they can be read now."""
    if failure.encoded_attributes.metadata.get("encoding") != b"json/plain":
        return
    try:
        attributes = orjson.loads(failure.encoded_attributes.data)
        failure.message = attributes.get("message", failure.message)
        failure.stack_trace = attributes.get("stack_trace", failure.stack_trace)
    except (ValueError, TypeError, AttributeError):
        log.debug("Encoded failure attributes are not what they should be")


def _is_plain(payload: Payload) -> bool:
    return payload.metadata.get("encoding", b"") in _PLAIN


def _answered(response: httpx.Response, expected: int) -> list[Payload]:
    try:
        payloads = list(json_format.Parse(response.content, Payloads()).payloads)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise _Refused("its answer is not a list of payloads") from error
    if len(payloads) != expected:
        raise _Refused(f"{len(payloads)} answers to {expected} payloads")
    return payloads
