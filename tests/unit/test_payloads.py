"""Temporal's payloads as JSON: never an exception, and never a value that could not be kept."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter

from app import inputs, payloads
from tests.unit.values import KEPT_JSON


def payload(encoding: str, data: bytes = b"") -> Payload:
    return Payload(metadata={"encoding": encoding.encode()}, data=data)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (payload("binary/null"), None),
        (payload("binary/null", b"ignored"), None),
        (payload("json/plain", b'{"a": [1, "\\u00fc", null]}'), {"a": [1, "ü", None]}),
        (payload("json/plain", b'"text"'), "text"),
        (payload("json/protobuf", b'{"seconds": 3}'), {"seconds": 3}),
        (payload("binary/plain", b"\x00\xff"), "AP8="),
        (payload("binary/plain"), ""),
        (payload("binary/encrypted", b"\x00\xff"), {"encoding": "binary/encrypted", "size": 2}),
        (Payload(data=b"abc"), {"encoding": "", "size": 3}),
    ],
)
def test_a_payload_is_decoded_by_its_encoding(given: Payload, value: Any) -> None:
    assert payloads.value(given) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"NaN",
        b"Infinity",
        b'"\xff"',
        b'"\\u0000"',
        b'{"\\u0000": 1}',
        b'"\\ud800"',
        b"9223372036854775808",
        b"[" * 66 + b"]" * 66,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_json_that_cannot_be_read_or_kept_is_described(data: bytes) -> None:
    assert payloads.value(payload("json/plain", data)) == {"encoding": "json/plain", "size": len(data)}


def test_an_encoding_that_could_not_be_kept_is_described_without_what_could_not() -> None:
    found = payloads.value(Payload(metadata={"encoding": b"my\x00codec\xff" + b"x" * 1_000}, data=b"abc"))

    assert found["size"] == 3
    assert found["encoding"].startswith("mycodec")
    assert len(found["encoding"]) <= 255


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_payload_becomes_a_value_that_can_be_kept(encoding: bytes, data: bytes) -> None:
    for name in (encoding, b"json/plain", b"json/protobuf", b"binary/plain"):
        found = payloads.value(Payload(metadata={"encoding": name}, data=data))

        assert list(inputs.json("", found)) == []


@given(KEPT_JSON)
def test_a_value_is_encoded_as_workers_read_it(value: Any) -> None:
    encoded = payloads.encoded(value)

    assert DataConverter.default.payload_converter.from_payloads([encoded]) == [value]
    assert payloads.value(encoded) == value


def test_several_payloads_are_a_list() -> None:
    pair = [payload("json/plain", b"1"), payload("binary/null")]

    assert payloads.values([]) == []
    assert payloads.values(pair) == [1, None]


def test_a_result_is_one_value_unless_there_are_several() -> None:
    one, two = payload("json/plain", b"[1]"), payload("json/plain", b"2")

    assert payloads.single([]) is None
    assert payloads.single([one]) == [1]
    assert payloads.single([payload("json/plain", b"0")]) == 0
    assert payloads.single([one, two]) == [[1], 2]


def test_what_is_storable_is_what_the_checks_of_inputs_pass() -> None:
    assert payloads.storable({"a": [1, 2.5, "ü", None, True]})
    assert not payloads.storable({"a": ["\x00"]})
    assert not payloads.storable(float("nan"))
