"""An identity provider: keys, the tokens signed with them, and their JWKS behind a real address."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://id.example/", "temporal-graphql"

Behave = Callable[[asyncio.StreamWriter], Awaitable[None]]

_WRITERS: dict[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


@dataclass(frozen=True)
class Signer:
    """A private key of the provider's, by its `kid`."""

    id: str | None
    algorithm: str
    private: Any

    @property
    def public(self) -> Any:
        return self.private.public_key()

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The public key as a JWKS lists it, with other members where given; None leaves one out."""
        entry = _WRITERS[self.algorithm].to_jwk(self.public, as_dict=True)
        entry |= {"kid": self.id, "use": "sig", "alg": self.algorithm} | members
        return {name: value for name, value in entry.items() if value is not None}

    def token(self, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """Alice's token for an hour, but for what is given; None leaves a claim out."""
        usual = {"sub": "alice", "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 3600}
        named = {} if self.id is None else {"kid": self.id}
        kept = {name: value for name, value in (usual | claims).items() if value is not None}
        return jwt.encode(kept, self.private, self.algorithm, headers=named | (header or {}))


@cache
def signer(id: str | None, algorithm: str = "RS256") -> Signer:
    """The same key for the same name, whichever test asks for it."""
    return Signer(id, algorithm, _private(algorithm))


def _private(algorithm: str) -> PrivateKeyTypes:
    match algorithm:
        case "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


@dataclass
class Provider:
    """What is behind the address: `keys` unless `behave` says otherwise; `fetches` counts who asked."""

    keys: list[dict[str, Any]] = field(default_factory=list)
    fetches: int = 0
    behave: Behave | None = None
    port: int = 0
    _server: asyncio.Server | None = None
    _serving: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jwks.json"

    def answer(self, body: bytes, status: str = "200 OK", headers: str = "") -> None:
        """Answer this from now on."""

        async def behave(writer: asyncio.StreamWriter) -> None:
            writer.write(response(body, status, headers))

        self.behave = behave

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections from now on."""
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.fetches += 1
            await self._answer(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._serving.discard(task)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        if self.behave is None:
            writer.write(response(json.dumps({"keys": self.keys}).encode()))
        else:
            await self.behave(writer)


def response(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """An HTTP response whose connection ends with it."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    return head.encode() + body


@asynccontextmanager
async def identity_provider(*signers: Signer) -> AsyncIterator[Provider]:
    """A provider that lists the keys of the signers."""
    provider = Provider([each.jwk() for each in signers])
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()
