"""Temporal payloads as JSON values that Postgres can keep: never an exception; and values as payloads."""

import base64
from collections.abc import Sequence
from typing import Any

import orjson
from temporalio.api.common.v1 import Payload

from app import inputs


def values(payloads: Sequence[Payload]) -> list[Any]:
    """Each payload decoded as the default converter would; an undecodable one is `{encoding, size}`."""
    return [value(payload) for payload in payloads]


def single(payloads: Sequence[Payload]) -> Any:
    """The value of a result: None for no payload, the value for one, a list for several."""
    decoded = values(payloads)
    return decoded[0] if len(decoded) == 1 else decoded or None


def value(payload: Payload) -> Any:
    """One payload decoded; bytes come as base64 text, what cannot be read or kept as `{encoding, size}`."""
    encoding = payload.metadata.get("encoding", b"").decode("ascii", "replace")
    match encoding:
        case "binary/null":
            return None
        case "json/plain" | "json/protobuf":
            return _json(encoding, payload.data)
        case "binary/plain":
            return base64.b64encode(payload.data).decode()
        case _:
            return _sealed(encoding, payload.data)


def encoded(value: Any) -> Payload:
    """A value that JSON has, as the default converter would encode it."""
    if value is None:
        return Payload(metadata={"encoding": b"binary/null"})
    return Payload(metadata={"encoding": b"json/plain"}, data=orjson.dumps(value))


def _json(encoding: str, data: bytes) -> Any:
    try:
        decoded = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _sealed(encoding, data)
    return decoded if storable(decoded) else _sealed(encoding, data)


def storable(decoded: Any) -> bool:
    """Whether Postgres keeps the value and a client can read it back."""
    return next(inputs.json("", decoded), None) is None


def _sealed(encoding: str, data: bytes) -> dict[str, Any]:
    return {"encoding": inputs.storable(encoding, inputs.MAX_NAME_CHARACTERS), "size": len(data)}
