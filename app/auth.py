"""JSON Web Tokens (RFC 7519) in, callers out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from app.errors import Forbidden, Unauthenticated

ALGORITHMS = ["HS256"]
MAX_TOKEN_CHARACTERS = 8_192
MAX_SUBJECT_CHARACTERS = 255
READ_EXECUTIONS, WRITE_EXECUTIONS = "executions:read", "executions:write"
READ_WORKFLOWS, WRITE_WORKFLOWS = "workflows:read", "workflows:write"
ADMIN = "admin"
USER_SCOPES = (READ_EXECUTIONS, WRITE_EXECUTIONS, READ_WORKFLOWS, WRITE_WORKFLOWS)


@dataclass(frozen=True)
class Caller:
    """Who is asking, as their token says; objects belong to `owner`.

    A token without a `scope` claim carries the four user scopes, never `admin`.
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


@dataclass(frozen=True)
class Verifier:
    """Checks tokens against one HS256 secret."""

    secret: str
    owner_claim: str = "sub"
    leeway_seconds: float = 0.0

    def caller(self, token: str) -> Caller:
        """The caller that a token names; raises Unauthenticated for any other token."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unauthenticated(f"The token is too long: {MAX_TOKEN_CHARACTERS:,} characters are the most.")
        try:
            claims = jwt.decode(
                token,
                self.secret,
                algorithms=ALGORITHMS,
                leeway=self.leeway_seconds,
                options={"require": ["exp", "sub"], "enforce_minimum_key_length": True, "verify_aud": False},
            )
            return _caller(claims, self.owner_claim)
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("The token has expired: get a new one.") from error
        except (jwt.InvalidTokenError, TypeError, ValueError, OverflowError, OSError) as error:
            raise Unauthenticated(
                "The token is not valid: it must be a JWT signed for this server, with `sub` and `exp`."
            ) from error


def bearer(header: str) -> str:
    """The token in an `Authorization` header (RFC 6750); raises Unauthenticated without one."""
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("Send the header 'Authorization: Bearer <token>'.")
    return token.strip()


def mint(secret: str, subject: str, scopes: tuple[str, ...] = USER_SCOPES, hours: float = 24.0) -> str:
    """A signed token for development and tests, valid for `hours`."""
    now = datetime.now(UTC)
    claims = {"sub": subject, "scope": " ".join(scopes), "iat": now, "exp": now + timedelta(hours=hours)}
    return jwt.encode(claims, secret, algorithm="HS256")


def _caller(claims: Mapping[str, Any], owner_claim: str) -> Caller:
    return Caller(
        subject=_name(claims["sub"]),
        owner=_name(claims.get(owner_claim)),
        scopes=_scopes(claims["scope"]) if "scope" in claims else frozenset(USER_SCOPES),
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
    )


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
