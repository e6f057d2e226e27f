"""JSON Web Tokens (RFC 7519) in, callers out."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import Any, Protocol

import jwt

from app.errors import Forbidden, Unauthenticated
from app.jwks import Key

MAX_TOKEN_CHARACTERS = 8_192
MAX_SUBJECT_CHARACTERS = 255
MAX_CHECKED_TOKENS = 4_096
READ_EXECUTIONS, WRITE_EXECUTIONS = "executions:read", "executions:write"
READ_WORKFLOWS, WRITE_WORKFLOWS = "workflows:read", "workflows:write"
ADMIN = "admin"
USER_SCOPES = (READ_EXECUTIONS, WRITE_EXECUTIONS, READ_WORKFLOWS, WRITE_WORKFLOWS)

INVALID = "The token is not valid: it must be a JWT signed for this server, with `sub` and `exp`."
_REFUSALS: Mapping[type[Exception], str] = {
    jwt.ExpiredSignatureError: "The token has expired: get a new one.",
    jwt.ImmatureSignatureError: "The token is not valid yet.",
    jwt.InvalidIssuerError: "The token is from another issuer (`iss`) than this server trusts.",
    jwt.InvalidAudienceError: "The token is for another audience (`aud`) than this server.",
}


@dataclass(frozen=True)
class Caller:
    """Who is asking, as their token says; objects belong to `owner`. The token is taken until `expires_at`.

    A token without the claim for scopes carries the four user scopes, never `admin`.
    """

    subject: str
    owner: str
    scopes: frozenset[str]
    expires_at: datetime

    @property
    def is_admin(self) -> bool:
        return ADMIN in self.scopes

    def may(self, scope: str) -> bool:
        return scope in self.scopes or self.is_admin

    def require(self, scope: str) -> None:
        """Raise Forbidden unless the token carries the scope (or `admin`)."""
        if not self.may(scope):
            raise Forbidden(
                f"Your token lacks the scope {scope!r}: ask for one that has it.", required_scope=scope
            )

    def may_see(self, owner: str) -> bool:
        return owner == self.owner or self.is_admin


class Keys(Protocol):
    """Where the keys come from that signatures are checked with."""

    async def find(self, algorithm: str, id: str | None) -> Key:
        """The key for a token's `alg` and `kid`; raises Unauthenticated where there is none."""
        ...


@dataclass(frozen=True)
class SharedSecret:
    """The one HS256 key that tokens are both signed and checked with."""

    secret: str

    async def find(self, algorithm: str, id: str | None) -> Key:
        """The secret, whatever `kid` says; raises Unauthenticated for any other algorithm."""
        if algorithm != self._key.algorithm:
            raise Unauthenticated(INVALID)
        return self._key

    @cached_property
    def _key(self) -> Key:
        return Key("HS256", self.secret)


@dataclass(frozen=True)
class Checked:
    """What a good token came to, by the key with this `kid`."""

    caller: Caller
    key: Key
    key_id: str | None


@dataclass(frozen=True)
class Verifier:
    """Checks tokens: their signature, their time, and what is demanded of their claims besides.

    Empty `issuers` or `audiences` admit any. A token that was good is not taken apart again while its key
    and its time last: that would cost a quarter of a small request.
    """

    keys: Keys
    owner_claim: str = "sub"
    leeway_seconds: float = 0.0
    issuers: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    required_claims: tuple[str, ...] = ()
    scope_claim: str = "scope"
    checked: dict[bytes, Checked] = field(default_factory=dict, repr=False, compare=False)

    async def caller(self, token: str) -> Caller:
        """The caller that a token names, as soon as its key is at hand.

        Raises Unauthenticated for any other token, Unavailable while no key can be had.
        """
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unauthenticated(f"The token is too long: {MAX_TOKEN_CHARACTERS:,} characters are the most.")
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self.checked.get(digest)
        if (
            known is None
            or known.caller.expires_at <= datetime.now(UTC)
            or await self.keys.find(known.key.algorithm, known.key_id) is not known.key
        ):
            known = await self._check(token)
            self._keep(digest, known)
        return known.caller

    async def _check(self, token: str) -> Checked:
        with _explained():
            header = jwt.get_unverified_header(token)
        key = await self.keys.find(str(header.get("alg")), header.get("kid"))
        with _explained():
            return Checked(self._caller(self._claims(token, key)), key, header.get("kid"))

    def _keep(self, digest: bytes, known: Checked) -> None:
        self.checked[digest] = known
        if len(self.checked) > MAX_CHECKED_TOKENS:
            del self.checked[next(iter(self.checked))]

    def _claims(self, token: str, key: Key) -> dict[str, Any]:
        return jwt.decode(
            token,
            key.material,
            algorithms=[key.algorithm],
            leeway=self.leeway_seconds,
            issuer=self.issuers or None,
            audience=self.audiences or None,
            options={
                "require": ["exp", "sub", *self.required_claims],
                "enforce_minimum_key_length": True,
                "verify_aud": bool(self.audiences),
            },
        )

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        named = self.scope_claim in claims
        return Caller(
            subject=_name(claims["sub"]),
            owner=_name(claims.get(self.owner_claim)),
            scopes=_scopes(claims[self.scope_claim]) if named else frozenset(USER_SCOPES),
            expires_at=datetime.fromtimestamp(claims["exp"] + self.leeway_seconds, UTC),
        )


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what is wrong with a token into Unauthenticated."""
    try:
        yield
    except jwt.MissingRequiredClaimError as error:
        raise Unauthenticated(f"The token lacks the claim `{error.claim}`.") from error
    except tuple(_REFUSALS) as error:
        raise Unauthenticated(_REFUSALS[type(error)]) from error
    except (jwt.PyJWTError, TypeError, ValueError, OverflowError, OSError) as error:
        raise Unauthenticated(INVALID) from error


def bearer(header: str) -> str:
    """The token in an `Authorization` header (RFC 6750); raises Unauthenticated without one."""
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("Send the header 'Authorization: Bearer <token>'.")
    return token.strip()


def mint(
    secret: str,
    subject: str,
    scopes: tuple[str, ...] = USER_SCOPES,
    hours: float = 24.0,
    more: Mapping[str, str] | None = None,
) -> str:
    """A signed token for development and tests, valid for `hours`, with more claims where given."""
    now = datetime.now(UTC)
    claims = {"sub": subject, "scope": " ".join(scopes), "iat": now, "exp": now + timedelta(hours=hours)}
    return jwt.encode(claims | dict(more or {}), secret, algorithm="HS256")


def _name(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_SUBJECT_CHARACTERS or not value.isprintable():
        raise Unauthenticated(
            "The token does not name its owner: 1 to 255 printable characters, most often in `sub`."
        )
    return value


def _scopes(value: object) -> frozenset[str]:
    """Scopes as RFC 8693 writes them (one string, separated by spaces) or as a list."""
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) and word.isprintable() for word in words):
        raise Unauthenticated(
            "The token's `scope` must be words with blanks between them, or a list of words."
        )
    return frozenset(words)
