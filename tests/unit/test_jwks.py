"""The keys of an identity provider: which are taken, how often they are fetched, and what an outage does."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from app import jwks
from app.errors import ErrorCode, Unauthenticated, Unavailable
from app.jwks import MAX_KEYS, MAX_SET_BYTES, BrokenSet, Key, KeySet, Options
from tests.eventually import eventually
from tests.identity import Provider, Signer, identity_provider, signer

RSA, EC, ED = signer("rsa"), signer("ec", "ES256"), signer("ed", "EdDSA")
NEW = signer("new")
UNLISTED = "The token is signed with a key that its issuer does not list."
USUAL = Options(ttl_seconds=300, grace_seconds=300, refresh_seconds=0.05, timeout_seconds=2)


def as_set(*entries: object) -> bytes:
    return json.dumps({"keys": entries}).encode()


def taken(*entries: object) -> list[tuple[str, str | None]]:
    return [(key.algorithm, key.id) for key in jwks.read(as_set(*entries))]


def test_a_key_of_each_kind_is_taken_for_the_one_algorithm_it_is_for() -> None:
    assert taken(RSA.jwk(), EC.jwk(), ED.jwk()) == [("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")]


def test_only_the_kind_is_needed() -> None:
    bare = [each.jwk(use=None, alg=None, kid=None, key_ops=None) for each in (RSA, EC, ED)]

    assert taken(*bare) == [("RS256", None), ("ES256", None), ("EdDSA", None)]


def rsa_entry(bits: int) -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits).public_key()
    return dict(RSAAlgorithm.to_jwk(key, as_dict=True))


UNUSABLE: dict[str, Any] = {
    "for encryption": RSA.jwk(use="enc"),
    "for wrapping": RSA.jwk(use=None, key_ops=["wrapKey"]),
    "operations of no form": RSA.jwk(key_ops="verify"),
    "another algorithm of its kind": RSA.jwk(alg="RS512"),
    "PSS": RSA.jwk(alg="PS256"),
    "encryption's algorithm": RSA.jwk(alg="RSA-OAEP"),
    "a secret's algorithm": RSA.jwk(alg="HS256"),
    "no signature": RSA.jwk(alg="none"),
    "another kind's algorithm": RSA.jwk(alg="ES256"),
    "algorithm a list": RSA.jwk(alg=["RS256"]),
    "a secret": {"kty": "oct", "k": "c2VjcmV0" * 8, "alg": "HS256", "kid": "s"},
    "a secret that claims RS256": {"kty": "oct", "k": "c2VjcmV0" * 8, "alg": "RS256", "kid": "s"},
    "a private key for all to see": RSA.jwk(d="AQAB"),
    "RSA of 1,024 bits": rsa_entry(1024),
    "another curve": ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True),
    "Ed448": OKPAlgorithm.to_jwk(ed448.Ed448PrivateKey.generate().public_key(), as_dict=True),
    "an unknown kind": {"kty": "LWE", "kid": "pq"},
    "no kind": {"kid": "x"},
    "kind a list": RSA.jwk(kty=["RSA"]),
    "curve a list": EC.jwk(crv=["P-256"]),
    "id a number": RSA.jwk(kid=7),
    "half a key": RSA.jwk(n=None),
    "modulus a number": RSA.jwk(n=7),
    "modulus no base64": RSA.jwk(n="***"),
    "point not on the curve": EC.jwk(x=EC.jwk()["y"]),
    "short point": ED.jwk(x="AAAA"),
    "a text": "key",
    "null": None,
    "a list": [],
}


@pytest.mark.parametrize("entry", UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_check_a_signature_is_passed_over(entry: Any) -> None:
    assert taken(entry, EC.jwk()) == [("ES256", "ec")]


BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not JSON"),
    "a page": (b"<html>Service Unavailable</html>", "not JSON"),
    "cut off": (as_set(RSA.jwk())[:-5], "not JSON"),
    "a list": (json.dumps([RSA.jwk()]).encode(), "no list of `keys`"),
    "one key": (json.dumps(RSA.jwk()).encode(), "no list of `keys`"),
    "keys an object": (json.dumps({"keys": {"a": RSA.jwk()}}).encode(), "no list of `keys`"),
    "no keys": (as_set(), "no key for signatures of RS256, ES256 or EdDSA"),
    "no usable key": (as_set(RSA.jwk(use="enc")), "no key for signatures of RS256, ES256 or EdDSA"),
    "too many": (as_set(*[EC.jwk()] * (MAX_KEYS + 1)), f"more than {MAX_KEYS} keys"),
    "100,000 brackets": (b"[" * 100_000, "not JSON"),
}


@pytest.mark.parametrize(("document", "why"), BROKEN.values(), ids=BROKEN)
def test_a_broken_set_is_none(document: bytes, why: str) -> None:
    with pytest.raises(BrokenSet, match=why):
        jwks.read(document)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from([RSA, EC, ED]),
    st.dictionaries(
        st.sampled_from(["kty", "crv", "n", "e", "x", "y", "use", "alg", "key_ops", "kid"]), JSON
    ),
)
def test_whatever_an_entry_says_it_is_a_key_or_passed_over(listed: Signer, members: dict[str, Any]) -> None:
    for key in jwks.read(as_set(listed.jwk() | members, NEW.jwk())):
        assert key.algorithm in ("RS256", "ES256", "EdDSA")


@asynccontextmanager
async def keys(provider: Provider, **options: float) -> AsyncIterator[KeySet]:
    async with KeySet(provider.url, replace(USUAL, **options)) as found:
        yield found


async def found(keys: KeySet, wanted: Signer) -> Key:
    return await keys.find(wanted.algorithm, wanted.id)


async def knows(keys: KeySet, wanted: Signer) -> bool:
    try:
        return (await found(keys, wanted)).id == wanted.id
    except (Unauthenticated, Unavailable):
        return False


async def test_a_key_is_found_by_its_name_and_algorithm() -> None:
    async with identity_provider(RSA, EC, ED) as provider, keys(provider) as known:
        for wanted in (RSA, EC, ED):
            assert (await found(known, wanted)).algorithm == wanted.algorithm
        with pytest.raises(Unauthenticated, match=UNLISTED):
            await known.find("ES256", "rsa")


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "RS512", "PS256", "ES384", "", "rs256"])
async def test_no_other_algorithm_is_even_looked_up(algorithm: str) -> None:
    async with identity_provider(RSA) as provider, keys(provider) as known:
        await found(known, RSA)
        with pytest.raises(Unauthenticated, match="must be signed with RS256, ES256, EdDSA"):
            await known.find(algorithm, "rsa")

        assert provider.fetches == 1


async def test_a_token_without_a_kid_needs_a_set_without_a_choice() -> None:
    async with identity_provider(RSA, EC) as provider, keys(provider) as known:
        assert (await known.find("ES256", None)).id == "ec"

        provider.keys.append(signer("ec 2", "ES256").jwk())
        await eventually(lambda: knows(known, signer("ec 2", "ES256")))
        with pytest.raises(Unauthenticated, match="must name its key"):
            await known.find("ES256", None)
        assert (await known.find("RS256", None)).id == "rsa"


async def test_many_who_ask_at_once_share_one_fetch() -> None:
    async with identity_provider(RSA) as provider, keys(provider) as known:
        answers = await asyncio.gather(*(found(known, RSA) for _ in range(500)))

        assert len(answers) == 500
        assert provider.fetches == 1


async def test_a_new_key_is_found_at_once_by_all_with_one_fetch() -> None:
    async with identity_provider(RSA) as provider, keys(provider, refresh_seconds=0.001) as known:
        await found(known, RSA)
        provider.keys.append(NEW.jwk())

        answers = await asyncio.gather(*(found(known, NEW) for _ in range(500)))

        assert {answer.id for answer in answers} == {"new"}
        assert provider.fetches == 2


async def test_names_nobody_has_cost_one_fetch_in_a_while() -> None:
    async with identity_provider(RSA) as provider, keys(provider, refresh_seconds=60) as known:
        await found(known, RSA)

        for number in range(1_000):
            with pytest.raises(Unauthenticated, match=UNLISTED):
                await known.find("RS256", f"random-{number}")

        assert provider.fetches == 1
        assert await knows(known, RSA)


async def test_names_nobody_has_cost_a_fetch_each_while() -> None:
    async with identity_provider(RSA) as provider, keys(provider, refresh_seconds=0.2) as known:
        began = asyncio.get_running_loop().time()

        async def asked_often() -> bool:
            with pytest.raises(Unauthenticated):
                await known.find("RS256", "random")
            return provider.fetches >= 4

        await eventually(asked_often)

        assert asyncio.get_running_loop().time() - began >= 0.6


async def test_a_withdrawn_key_leaves_with_the_next_set() -> None:
    async with identity_provider(RSA, EC) as provider, keys(provider, ttl_seconds=0.05) as known:
        assert await knows(known, RSA)

        del provider.keys[0]

        # Nobody need ask for another key: the set is fetched anew by itself.
        await eventually(lambda: _lacks(known, RSA))
        assert await knows(known, EC)


async def _lacks(known: KeySet, wanted: Signer) -> bool:
    return not await knows(known, wanted)


async def never_answer(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flood(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()


FAILURES: dict[str, Any] = {
    "HTTP 500": (b"", "500 Internal Server Error"),
    "HTTP 404": (b"", "404 Not Found"),
    "HTTP 204": (b"", "204 No Content"),
    "HTTP 206": (as_set(NEW.jwk()), "206 Partial Content"),
    "a redirect to a good set": (as_set(NEW.jwk()), "302 Found", "Location: /elsewhere\r\n"),
    "garbage": (b"\x00\xff" * 500,),
    "an empty set": (as_set(),),
    "a compressed set": (gzip.compress(as_set(NEW.jwk())), "200 OK", "Content-Encoding: gzip\r\n"),
    "one byte too much": (as_set(NEW.jwk()).ljust(MAX_SET_BYTES + 1),),
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
    "never": never_answer,
    "drop by drop": drip,
    "without end": flood,
}


def spoil(provider: Provider, failure: Any) -> None:
    if isinstance(failure, tuple):
        provider.answer(*failure)
    elif isinstance(failure, bytes):
        provider.behave = lambda writer: _write(writer, failure)
    else:
        provider.behave = failure


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)


@pytest.mark.parametrize("failure", [*FAILURES.values(), None], ids=[*FAILURES, "refused"])
async def test_a_good_set_outlives_a_failing_provider(failure: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app.jwks")
    short = {"ttl_seconds": 0.02, "refresh_seconds": 0.02, "timeout_seconds": 1.0}
    async with identity_provider(RSA) as provider, keys(provider, **short) as known:
        assert await knows(known, RSA)
        if failure is None:
            await provider.stop()
        else:
            spoil(provider, failure)
        await eventually(lambda: "The JWKS cannot be fetched" in caplog.text)

        assert await knows(known, RSA)
        with pytest.raises(Unavailable) as caught:
            await found(known, NEW)
        assert caught.value.code is ErrorCode.UNAVAILABLE
        assert caught.value.retry_after_seconds == 1

        provider.behave = None
        provider.keys.append(NEW.jwk())
        if failure is None:
            await provider.start()
        await eventually(lambda: knows(known, NEW))
        assert await knows(known, RSA)
    assert caplog.text.count("cannot be fetched") == 1
    assert caplog.text.count("can be fetched again") == 1


async def test_the_longest_set_is_read() -> None:
    async with identity_provider(RSA) as provider, keys(provider) as known:
        provider.answer(as_set(NEW.jwk()).ljust(MAX_SET_BYTES))

        assert await knows(known, NEW)


async def test_a_set_serves_no_longer_than_its_grace() -> None:
    short = {"ttl_seconds": 0.1, "grace_seconds": 0.2}
    async with identity_provider(RSA) as provider, keys(provider, **short) as known:
        assert await knows(known, RSA)
        provider.answer(b"")

        await eventually(lambda: _lacks(known, RSA))

        with pytest.raises(Unavailable):
            await found(known, RSA)


async def test_without_any_set_nobody_waits_for_longer_than_one_fetch() -> None:
    async with identity_provider(RSA) as provider:
        provider.behave = never_answer
        async with keys(provider, timeout_seconds=0.2, refresh_seconds=60) as known:
            refusals = await asyncio.gather(*(found(known, RSA) for _ in range(100)), return_exceptions=True)
            with pytest.raises(Unavailable) as caught:
                await found(known, RSA)

            assert {type(each) for each in refusals} == {Unavailable}
            assert 50 <= (caught.value.retry_after_seconds or 0) <= 60
            assert provider.fetches == 1


async def test_the_set_is_there_as_soon_as_the_provider_is() -> None:
    async with identity_provider(RSA) as provider:
        await provider.stop()
        async with keys(provider) as known:
            with pytest.raises(Unavailable):
                await found(known, RSA)

            await provider.start()

            await eventually(lambda: knows(known, RSA))


async def test_who_gives_up_does_not_take_the_fetch_along() -> None:
    async with identity_provider(RSA) as provider:
        going_on = asyncio.Event()

        async def hesitate(writer: asyncio.StreamWriter) -> None:
            await going_on.wait()
            provider.behave = None
            provider.answer(as_set(RSA.jwk()))
            assert provider.behave is not None
            await provider.behave(writer)

        provider.behave = hesitate
        async with keys(provider, refresh_seconds=60) as known:
            impatient, patient = (asyncio.create_task(found(known, RSA)) for _ in range(2))
            await eventually(lambda: provider.fetches == 1)
            impatient.cancel()
            going_on.set()

            assert (await patient).id == "rsa"
            assert provider.fetches == 1
