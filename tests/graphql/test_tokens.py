"""Tokens of an identity provider, good and bad, over HTTP and over WebSocket; and what its outages do."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio
import websockets
from cryptography.hazmat.primitives import serialization

from app.settings import Settings
from tests.client import RESPONSE_TYPE, SECRET, Api, Socket, connected, serving
from tests.eventually import eventually
from tests.identity import AUDIENCE, ISSUER, Provider, Signer, identity_provider, signer

Quiet = Callable[[], None]
Row = tuple[str, str]

VIEWER = "{ viewer { id } }"
FORBIDDEN, TRY_AGAIN_LATER = 4403, 1013
RSA, EC, ED = signer("2026-01"), signer("ec", "ES256"), signer("ed", "EdDSA")
STRANGER, NEXT = signer("stranger"), signer("2026-02")
# The public halves are in the set, but not for signatures.
FOR_ENCRYPTION, WEAKER = signer("enc"), signer("rs512")

INVALID = "The token is not valid: it must be a JWT signed for this server, with `sub` and `exp`."
UNLISTED = "The token is signed with a key that its issuer does not list."
OTHER_ALGORITHM = "The token must be signed with RS256, ES256, EdDSA."
OTHER_ISSUER = "The token is from another issuer (`iss`) than this server trusts."
OTHER_AUDIENCE = "The token is for another audience (`aud`) than this server."
TOO_LONG = "The token is too long: 8,192 characters are the most."


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Provider]:
    async with identity_provider(RSA, EC, ED) as found:
        found.keys += [FOR_ENCRYPTION.jwk(use="enc"), WEAKER.jwk(alg="RS512")]
        yield found


@pytest.fixture
def trusting(settings: Settings, provider: Provider) -> Settings:
    """Settings that trust the provider."""
    return settings.model_copy(
        update={
            "jwt_secret": None,
            "jwt_jwks_url": provider.url,
            "jwt_issuer": (ISSUER, "https://id.example/v2"),
            "jwt_audience": (AUDIENCE, "temporal-graphql-beta"),
            "jwt_jwks_refresh_seconds": 0.02,
            "jwt_jwks_timeout_seconds": 10.0,
        }
    )


@pytest_asyncio.fixture
async def guarded(trusting: Settings) -> AsyncIterator[Api]:
    """A replica that takes the provider's tokens alone."""
    async with serving(trusting.model_copy(update={"max_sockets_per_user": 50})) as replica:
        yield replica


def segment(part: Any) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def forged(header: dict[str, Any], secret: bytes) -> str:
    """A token that would be good if `secret` were what HS256 is checked with."""
    claims = {"sub": "alice", "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 3600}
    text = f"{segment({'typ': 'JWT', **header})}.{segment(claims)}"
    return f"{text}.{segment(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def pem(key: Signer) -> bytes:
    return bytes(
        key.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def der(key: Signer) -> bytes:
    return bytes(
        key.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def altered(token: str, **claims: Any) -> str:
    """The token with other claims and the old signature."""
    header, payload, signature = token.split(".")
    known = json.loads(base64.urlsafe_b64decode(payload + "==="))
    return f"{header}.{segment(known | claims)}.{signature}"


def named(id: Any) -> str:
    return RSA.token(header={"kid": id})


def of_another_algorithm() -> dict[str, Row]:
    good, unsigned = RSA.token(), {"alg": "none", "kid": RSA.id}
    return {
        "none": ("", "Send the header 'Authorization: Bearer <token>'."),
        "garbage": ("garbage", INVALID),
        "alg none, no signature": (f"{segment(unsigned)}.{good.split('.')[1]}.", OTHER_ALGORITHM),
        "alg None": (f"{segment(unsigned | {'alg': 'None'})}.{good.split('.')[1]}.", OTHER_ALGORITHM),
        "alg none, a signature": (f"{segment(unsigned)}.{good.split('.', 1)[1]}", OTHER_ALGORITHM),
        "no alg": (f"{segment({'kid': RSA.id})}.{good.split('.', 1)[1]}", OTHER_ALGORITHM),
        "alg a list": (f"{segment({'alg': ['RS256']})}.{good.split('.', 1)[1]}", OTHER_ALGORITHM),
        "HS256 with the public key as PEM": (
            forged({"alg": "HS256", "kid": RSA.id}, pem(RSA)),
            OTHER_ALGORITHM,
        ),
        "HS256 with the public key as DER": (
            forged({"alg": "HS256", "kid": RSA.id}, der(RSA)),
            OTHER_ALGORITHM,
        ),
        "HS256 with the JWK": (
            forged({"alg": "HS256", "kid": RSA.id}, json.dumps(RSA.jwk()).encode()),
            OTHER_ALGORITHM,
        ),
        "HS256 with a development secret": (forged({"alg": "HS256"}, SECRET.encode()), OTHER_ALGORITHM),
        "RS256, signed by HMAC": (forged({"alg": "RS256", "kid": RSA.id}, pem(RSA)), INVALID),
        "EdDSA with the name of an RSA key": (ED.token(header={"kid": RSA.id}), UNLISTED),
        "RS512 of an RS256 key": (
            jwt.encode({"sub": "alice"}, RSA.private, "RS512", headers={"kid": RSA.id}),
            OTHER_ALGORITHM,
        ),
        "PS256": (
            jwt.encode({"sub": "alice"}, RSA.private, "PS256", headers={"kid": RSA.id}),
            OTHER_ALGORITHM,
        ),
    }


def badly_signed() -> dict[str, Row]:
    good = RSA.token()
    return {
        "a key for encryption": (FOR_ENCRYPTION.token(), UNLISTED),
        "a key for RS512": (WEAKER.token(), UNLISTED),
        "a stranger's key under a known name": (STRANGER.token(header={"kid": RSA.id}), INVALID),
        "a stranger's key without a name": (Signer(None, "RS256", STRANGER.private).token(), INVALID),
        "a changed claim": (altered(good, sub="bob"), INVALID),
        "signature cut off": (good.rpartition(".")[0] + ".", INVALID),
        "signature of zeros": (f"{EC.token().rpartition('.')[0]}.{segment(bytes(64))}", INVALID),
        "JWE": (f"{segment({'alg': 'RSA-OAEP', 'enc': 'A256GCM'})}.a.b.c.d", INVALID),
        "nested brackets": (f"{segment(b'[' * 5_000)}.e30.e30", INVALID),
        "a huge token": (RSA.token(more="x" * 200_000), TOO_LONG),
    }


def with_wrong_claims() -> dict[str, Row]:
    now = int(time.time())
    return {
        "expired": (RSA.token(exp=now - 1), "The token has expired: get a new one."),
        "not yet valid": (RSA.token(nbf=now + 600), "The token is not valid yet."),
        "no expiry": (RSA.token(exp=None), "The token lacks the claim `exp`."),
        "no subject": (RSA.token(sub=None), "The token lacks the claim `sub`."),
        "wrong audience": (RSA.token(aud="another-service"), OTHER_AUDIENCE),
        "wrong audiences": (RSA.token(aud=["a", "b"]), OTHER_AUDIENCE),
        "no audience": (RSA.token(aud=None), "The token lacks the claim `aud`."),
        "wrong issuer": (RSA.token(iss="https://evil.example/"), OTHER_ISSUER),
        "nearly the issuer": (RSA.token(iss=ISSUER.rstrip("/")), OTHER_ISSUER),
        "no issuer": (RSA.token(iss=None), "The token lacks the claim `iss`."),
    }


def with_a_wrong_name(trap: str) -> dict[str, Row]:
    return {
        "unknown kid": (named("2025-12"), UNLISTED),
        "kid with a path": (named("../../../../etc/passwd"), UNLISTED),
        "kid with SQL": (named("x' UNION SELECT 'key' --"), UNLISTED),
        "kid with an address": (named(trap), UNLISTED),
        "kid with NUL and line breaks": (named("2026-01\x00\r\n\u2028"), UNLISTED),
        "kid empty": (named(""), UNLISTED),
        "kid of 5,000 characters": (named("k" * 5_000), UNLISTED),
        "kid of a million characters": (named("k" * 1_000_000), TOO_LONG),
        "kid a number": (forged({"alg": "RS256", "kid": 7}, b"x"), INVALID),
        "kid null": (forged({"alg": "RS256", "kid": None}, b"x"), INVALID),
        "kid an object": (forged({"alg": "RS256", "kid": {"$ne": 1}}, b"x"), INVALID),
    }


def with_a_lying_header(trap: str) -> dict[str, Row]:
    return {
        "a stranger's jku": (STRANGER.token(header={"jku": trap}), UNLISTED),
        "a stranger's jku under a known name": (
            STRANGER.token(header={"kid": RSA.id, "jku": trap, "x5u": trap}),
            INVALID,
        ),
        "a stranger's x5u": (STRANGER.token(header={"x5u": trap}), UNLISTED),
        "a stranger's jwk": (STRANGER.token(header={"jwk": STRANGER.jwk()}), UNLISTED),
        "a stranger's jwk under a known name": (
            STRANGER.token(header={"kid": RSA.id, "jwk": STRANGER.jwk(kid=RSA.id)}),
            INVALID,
        ),
        "a stranger's x5c": (
            STRANGER.token(header={"kid": RSA.id, "x5c": [segment(b"certificate")]}),
            INVALID,
        ),
        "crit": (RSA.token(header={"crit": ["exp"], "exp": 2**32}), INVALID),
        "crit of an unknown extension": (RSA.token(header={"crit": ["x"], "x": 1}), INVALID),
        "crit empty": (RSA.token(header={"crit": []}), INVALID),
    }


def bad_tokens(trap: str) -> dict[str, Row]:
    """Each bad token and what is said of it; `trap` is an address that must never be asked."""
    return {
        **of_another_algorithm(),
        **badly_signed(),
        **with_wrong_claims(),
        **with_a_wrong_name(trap),
        **with_a_lying_header(trap),
    }


async def posted(api: Api, token: str, accept: str = RESPONSE_TYPE) -> httpx.Response:
    async with httpx.AsyncClient(
        headers={"Authorization": f"Bearer {token}".strip(), "Accept": accept}, verify=False, timeout=30
    ) as http:
        return await http.post(api.url, json={"query": VIEWER})


async def closed(api: Api, token: str) -> tuple[int | None, str | None]:
    """How the server closes a socket that comes with the token."""
    async with connected(api) as connection:
        socket = Socket(connection)
        await socket.send(type="connection_init", payload={"Authorization": f"Bearer {token}"})
        return await socket.closed()


async def is_let_in(api: Api, token: str) -> bool:
    """Whether a token opens both doors, and makes its bearer Alice."""
    async with api.bearing(token) as client:
        response = await client.post(VIEWER)
        if not response.is_success:
            return False
        assert response.json() == {"data": {"viewer": {"id": "alice"}}}
        try:
            async with client.socket() as socket:
                await socket.subscribe("1", VIEWER)
                assert await socket.next() == {"viewer": {"id": "alice"}}
        except websockets.ConnectionClosed:
            return False
    return True


async def test_every_bad_token_is_refused_at_both_doors(
    quiet_log: Quiet, guarded: Api, provider: Provider, subtests: pytest.Subtests
) -> None:
    async with identity_provider(STRANGER) as trap:
        for name, (token, message) in bad_tokens(trap.url).items():
            with subtests.test(name):
                # uvicorn's own limit of 64 kB of headers comes first for a million characters.
                response = await posted(guarded, token[:60_000])

                assert response.status_code == 401
                assert response.headers["content-type"] == RESPONSE_TYPE
                assert response.headers["www-authenticate"] == "Bearer"
                error = {"message": message, "extensions": {"code": "UNAUTHENTICATED"}}
                assert response.json() == {"errors": [error]}
                assert (await posted(guarded, token[:60_000], "text/event-stream")).json() == response.json()
                assert await closed(guarded, token[:1_000_000]) == (FORBIDDEN, message)
                quiet_log()
        assert trap.fetches == 0
    assert await is_let_in(guarded, RSA.token())


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
async def test_a_token_of_each_algorithm_gets_in(guarded: Api, key: Signer) -> None:
    assert await is_let_in(guarded, key.token())
    assert await is_let_in(guarded, Signer(None, key.algorithm, key.private).token())


async def test_headers_about_keys_do_not_harm_a_good_token(guarded: Api) -> None:
    async with identity_provider(STRANGER) as trap:
        header = {"jku": trap.url, "x5u": trap.url, "jwk": STRANGER.jwk(), "typ": "at+jwt"}

        assert await is_let_in(guarded, RSA.token(header=header))
        assert trap.fetches == 0


async def test_any_trusted_issuer_and_audience_get_in(guarded: Api) -> None:
    token = RSA.token(iss="https://id.example/v2", aud=["other", "temporal-graphql-beta"])

    assert await is_let_in(guarded, token)


async def test_a_secret_never_takes_a_token_of_another_algorithm(api: Api) -> None:
    for key in (RSA, EC, ED):
        assert not await is_let_in(api, key.token())
    assert await is_let_in(api, forged({"alg": "HS256", "kid": "whatever"}, SECRET.encode()))


async def test_a_required_claim_is_required(quiet_log: Quiet, trusting: Settings) -> None:
    async with serving(trusting.model_copy(update={"jwt_required_claims": ("tenant",)})) as api:
        assert await closed(api, RSA.token()) == (FORBIDDEN, "The token lacks the claim `tenant`.")
        assert await is_let_in(api, RSA.token(tenant="acme"))


async def test_leeway_is_granted_and_a_socket_lives_as_long(trusting: Settings) -> None:
    async with serving(trusting.model_copy(update={"jwt_leeway_seconds": 60})) as api:
        # A server that closed at once would see its client come back at once.
        assert await is_let_in(api, RSA.token(exp=int(time.time()) - 5))
        assert not await is_let_in(api, RSA.token(exp=int(time.time()) - 65))
        assert await is_let_in(api, RSA.token(nbf=int(time.time()) + 30))


async def test_after_a_rotation_old_tokens_work_until_their_key_leaves_and_new_ones_at_once(
    quiet_log: Quiet, trusting: Settings, provider: Provider
) -> None:
    old, new = RSA.token(), NEXT.token()
    async with serving(trusting.model_copy(update={"jwt_jwks_ttl_seconds": 0.2})) as api:
        assert await is_let_in(api, old)
        assert not await is_let_in(api, new)

        provider.keys.append(NEXT.jwk())

        await eventually(lambda: is_let_in(api, new))
        assert await is_let_in(api, old)

        provider.keys.pop(0)

        await eventually(lambda: _is_kept_out(api, old))
        assert await is_let_in(api, new)


async def _is_kept_out(api: Api, token: str) -> bool:
    return not await is_let_in(api, token)


async def test_a_new_key_is_found_with_the_first_token_that_names_it(
    quiet_log: Quiet, guarded: Api, provider: Provider
) -> None:
    assert await is_let_in(guarded, RSA.token())
    provider.keys.append(NEXT.jwk())
    before = provider.fetches

    # Half over HTTP and half over WebSocket, all at the same moment.
    doors = await asyncio.gather(*(is_let_in(guarded, NEXT.token()) for _ in range(20)))

    assert all(doors)
    assert provider.fetches == before + 1


async def test_random_kids_do_not_flood_the_provider(
    quiet_log: Quiet, trusting: Settings, provider: Provider
) -> None:
    async with serving(trusting.model_copy(update={"jwt_jwks_refresh_seconds": 60.0})) as api:
        assert await is_let_in(api, RSA.token())

        answers = await asyncio.gather(*(posted(api, named(f"random-{n}")) for n in range(200)))

        assert {answer.status_code for answer in answers} == {401}
        assert provider.fetches == 1
        assert await is_let_in(api, RSA.token())


OUTAGES: dict[str, Any] = {
    "HTTP 503": (b"", "503 Service Unavailable"),
    "garbage": (b"<html>Please log in</html>",),
    "an empty set": (b'{"keys": []}',),
    "huge": (b" " * 10_000_000,),
    "slow": None,
}


async def _hang(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


def spoil(provider: Provider, outage: Any) -> None:
    if outage is None:
        provider.behave = _hang
    else:
        provider.answer(*outage)


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
async def test_a_provider_that_is_down_from_the_start_is_waited_for(
    quiet_log: Quiet, trusting: Settings, provider: Provider, outage: Any
) -> None:
    spoil(provider, outage)
    async with serving(trusting.model_copy(update={"jwt_jwks_timeout_seconds": 1.0})) as api:
        response = await posted(api, RSA.token())

        assert response.status_code == 503
        assert response.headers["content-type"] == RESPONSE_TYPE
        assert 1 <= int(response.headers["retry-after"]) <= 60
        (error,) = response.json()["errors"]
        assert error["extensions"] == {
            "code": "UNAVAILABLE",
            "retryAfter": int(response.headers["retry-after"]),
        }
        assert await closed(api, RSA.token()) == (TRY_AGAIN_LATER, error["message"])
        # What could never be good is refused all the same.
        assert (await posted(api, forged({"alg": "HS256"}, pem(RSA)))).status_code == 401
        async with httpx.AsyncClient(verify=False) as http:
            assert (await http.get(api.url.replace("/graphql", "/health"))).is_success

        provider.behave = None

        await eventually(lambda: is_let_in(api, RSA.token()))


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
async def test_a_provider_that_goes_down_later_is_not_missed(
    quiet_log: Quiet, trusting: Settings, provider: Provider, outage: Any
) -> None:
    hasty = {"jwt_jwks_ttl_seconds": 0.05, "jwt_jwks_timeout_seconds": 0.3}
    async with serving(trusting.model_copy(update=hasty)) as api:
        await eventually(lambda: is_let_in(api, RSA.token()))
        spoil(provider, outage)
        seen = provider.fetches
        await eventually(lambda: provider.fetches >= seen + 3)

        assert await is_let_in(api, RSA.token())
        assert (await posted(api, NEXT.token())).status_code == 503

        provider.behave = None
        provider.keys.append(NEXT.jwk())
        await eventually(lambda: is_let_in(api, NEXT.token()))


async def test_beyond_its_grace_an_old_set_opens_no_door(
    quiet_log: Quiet, trusting: Settings, provider: Provider
) -> None:
    brief = {"jwt_jwks_ttl_seconds": 0.2, "jwt_jwks_grace_seconds": 0.3}
    async with serving(trusting.model_copy(update=brief)) as api:
        assert await is_let_in(api, RSA.token())
        await provider.stop()

        await eventually(lambda: _is_kept_out(api, RSA.token()))

        assert (await posted(api, RSA.token())).status_code == 503
