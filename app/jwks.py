"""The public keys of an identity provider: a JSON Web Key Set (RFC 7517), kept fresh from its address."""

import asyncio
import logging
import math
from collections.abc import Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx
import jwt
import orjson

from app.errors import Unauthenticated, Unavailable

log = logging.getLogger(__name__)

# What a key of each kind, and curve, may have signed with: nothing else, and never a shared secret.
_ALGORITHMS: Final = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
# A key is built of these alone: no certificate is followed, no address fetched.
_PUBLIC_MEMBERS: Final = ("kty", "crv", "n", "e", "x", "y")
_RSA_BITS: Final = range(2_048, 8_193)
MAX_KEYS: Final = 100
MAX_SET_BYTES: Final = 262_144


class BrokenSet(Exception):
    """What was fetched is not a set of keys; the message says why, and nothing of its content."""


@dataclass(frozen=True)
class Key:
    """What signatures of one algorithm are checked with."""

    algorithm: str
    material: str | jwt.PyJWK
    id: str | None = None


@dataclass(frozen=True)
class Options:
    """How often a set is fetched, and how long it may serve."""

    ttl_seconds: float
    grace_seconds: float
    refresh_seconds: float
    timeout_seconds: float


class KeySet:
    """The keys behind an address. An async context manager: it fetches from its beginning to its end.

    A set is fetched anew each `ttl_seconds`, and for a key that it lacks; never sooner than
    `refresh_seconds` after the last try, however many ask. While no good set can be fetched, the last one
    goes on for `grace_seconds`.
    """

    def __init__(self, url: str, options: Options) -> None:
        self._url = url
        self._options = options
        self._keys: tuple[Key, ...] = ()
        self._tried_at = self._fetched_at = -math.inf
        self._failing = False
        self._fetching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(
            # What is not compressed cannot grow.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            timeout=self._options.timeout_seconds,
        )
        self._keeper = asyncio.create_task(self._keep(), name="jwks: keep")
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for task in (self._keeper, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def find(self, algorithm: str, id: str | None) -> Key:
        """The key for a token's algorithm and `kid`, fetched if it is new.

        Raises Unauthenticated where the provider has no such key, Unavailable while that cannot be known.
        """
        if algorithm not in _ALGORITHMS.values():
            raise Unauthenticated(f"The token must be signed with {', '.join(_ALGORITHMS.values())}.")
        if not (self._is_good and self._matching(algorithm, id)):
            await self._refresh()
        found = self._matching(algorithm, id) if self._is_good else []
        if not found and self._failing:
            raise Unavailable(
                "The keys to check tokens with cannot be had at present.",
                retry_after_seconds=max(1, math.ceil(self._cooling_seconds)),
            )
        return _only(found, id)

    @property
    def _is_good(self) -> bool:
        return _now() - self._fetched_at < self._options.ttl_seconds + self._options.grace_seconds

    @property
    def _cooling_seconds(self) -> float:
        """How long until the set may be fetched again."""
        return max(0.0, self._tried_at + self._options.refresh_seconds - _now())

    def _matching(self, algorithm: str, id: str | None) -> list[Key]:
        return [key for key in self._keys if key.algorithm == algorithm and id in (key.id, None)]

    async def _keep(self) -> None:
        while True:
            await self._refresh()
            fresh_seconds = self._fetched_at + self._options.ttl_seconds - _now()
            await asyncio.sleep(max(self._cooling_seconds, fresh_seconds))

    async def _refresh(self) -> None:
        """Wait for the fetch under way, or for a new one unless the last was a short while ago."""
        if self._fetching is None or self._fetching.done():
            if self._cooling_seconds:
                return
            self._tried_at = _now()
            # It is everybody's: no request's id belongs into its lines.
            self._fetching = asyncio.create_task(self._fetch(), name="jwks: fetch", context=Context())
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        """Put a new set in the place of the old one, if it is a good one."""
        try:
            async with asyncio.timeout(self._options.timeout_seconds):
                keys = read(await self._body())
        except Exception as error:  # noqa: BLE001 - whatever it was, the old set must go on
            self._note_failure(error)
        else:
            self._keys, self._fetched_at = keys, _now()
            if self._failing:
                log.info("The JWKS can be fetched again")
            self._failing = False

    async def _body(self) -> bytes:
        body = bytearray()
        async with self._client.stream("GET", self._url) as response:
            if response.status_code != httpx.codes.OK:
                raise BrokenSet(f"HTTP {response.status_code}")
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_SET_BYTES:
                    raise BrokenSet(f"more than {MAX_SET_BYTES:,} bytes")
        return bytes(body)

    def _note_failure(self, error: Exception) -> None:
        """Log that an outage begins; not again while it lasts."""
        if not self._failing:
            log.warning("The JWKS cannot be fetched: %s: %s", type(error).__name__, error)
        self._failing = True


def read(document: bytes) -> tuple[Key, ...]:
    """The keys of a JWKS that signatures can be checked with; raises BrokenSet where there is none."""
    try:
        found = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise BrokenSet("not JSON") from error
    entries = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise BrokenSet("no list of `keys`")
    if len(entries) > MAX_KEYS:
        raise BrokenSet(f"more than {MAX_KEYS} keys")
    keys = tuple(key for key in map(_key, entries) if key is not None)
    if not keys:
        raise BrokenSet("no key for signatures of RS256, ES256 or EdDSA")
    return keys


def _key(entry: object) -> Key | None:
    """The key that an entry describes; None for one of another purpose, or that cannot be trusted."""
    if not isinstance(entry, dict) or not _is_for_signatures(entry):
        return None
    id, curve = entry.get("kid"), entry.get("crv")
    if not isinstance(id, str | None) or not isinstance(curve, str | None):
        return None
    algorithm = _ALGORITHMS.get((str(entry.get("kty")), curve))
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        return None
    try:
        material = jwt.PyJWK({name: entry[name] for name in _PUBLIC_MEMBERS if name in entry}, algorithm)
    except (jwt.PyJWTError, TypeError, ValueError, KeyError, AttributeError):
        return None
    return Key(algorithm, material, id) if _is_strong(material) else None


def _is_for_signatures(entry: Mapping[str, Any]) -> bool:
    """Whether the entry is meant for this, and nobody else can sign with what it shows."""
    operations = entry.get("key_ops", ["verify"])
    return (
        entry.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and "d" not in entry
    )


def _is_strong(key: jwt.PyJWK) -> bool:
    return key.algorithm_name != "RS256" or key.key.key_size in _RSA_BITS


def _only(keys: list[Key], id: str | None) -> Key:
    if not keys:
        raise Unauthenticated("The token is signed with a key that its issuer does not list.")
    if id is None and len(keys) > 1:
        raise Unauthenticated("The token must name its key (`kid`): its issuer has several.")
    return keys[0]


def _now() -> float:
    return asyncio.get_running_loop().time()
