"""Automatic persisted queries: documents that replicas keep for their clients, by the hash of their text."""

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from app.valkey import Valkey

CACHED_DOCUMENTS: Final = 1_000
# A document that is used is asked for again, and so lives on, after this part of its life.
REFRESHED_AFTER: Final = 0.25


@dataclass(frozen=True)
class Kept:
    """A document as this process knows it; from `stale_at` on the server is asked again."""

    text: str
    stale_at: float

    @property
    def is_stale(self) -> bool:
        return self.stale_at < time.monotonic()


class PersistedQueries:
    """The documents of all users, which any of them may name by hash.

    One that nobody names for `ttl_seconds` is forgotten. A document of more than `max_bytes` is not kept,
    and of those that one user was first to send the newest `per_user` are: sending more costs nobody else
    a document. While the server is away, only what this process has used lately is known.
    """

    def __init__(self, valkey: Valkey, *, ttl_seconds: float, max_bytes: int, per_user: int) -> None:
        self._valkey = valkey
        self._ttl_seconds = ttl_seconds
        self._max_bytes = max_bytes
        self._per_user = per_user
        self._recent: OrderedDict[str, Kept] = OrderedDict()

    async def find(self, hash: str) -> str | None:
        """The document of that hash; None where it is not known, or not any more."""
        known = self._recent.get(hash)
        if known is None or known.is_stale:
            known = await self._valkey.ask(lambda: self._fetch(hash), otherwise=known)
        if known is None:
            self._recent.pop(hash, None)
            return None
        self._remember(hash, known)
        return known.text

    async def keep(self, hash: str, text: str, user: str) -> None:
        """Keep a document for all, unless it is too long; the user is who has it counted."""
        known = self._recent.get(hash)
        if (known is not None and not known.is_stale) or len(encoded(text)) > self._max_bytes:
            return
        if kept := await self._valkey.ask(lambda: self._store(hash, text, user), otherwise=None):
            self._remember(hash, kept)

    async def _fetch(self, hash: str) -> Kept | None:
        stored = await self._valkey.redis.getex(self._document(hash), px=self._ttl_ms)
        if not isinstance(stored, bytes):
            return None
        user, _, text = stored.partition(b"\n")
        if digest(text) != hash:
            return None
        # What one user's documents are counted by must not be forgotten before the documents are.
        counted = self._documents_of(user.decode(errors="replace"))
        await self._valkey.redis.pexpire(counted, self._ttl_ms)
        return self._fresh(text.decode(errors="surrogatepass"))

    async def _store(self, hash: str, text: str, user: str) -> Kept | None:
        stored = b"\n".join((user.encode(), encoded(text)))
        if not await self._valkey.redis.set(self._document(hash), stored, px=self._ttl_ms, nx=True):
            return await self._fetch(hash)
        await self._count(hash, self._documents_of(user))
        return self._fresh(text)

    async def _count(self, hash: str, mine: str) -> None:
        async with self._valkey.redis.pipeline() as transaction:
            transaction.zadd(mine, {hash: time.time()})
            transaction.pexpire(mine, self._ttl_ms)
            transaction.zcard(mine)
            *_, count = await transaction.execute()
        if count > self._per_user:
            oldest: Any = await self._valkey.redis.zpopmin(mine, count - self._per_user)
            await self._valkey.redis.delete(*(self._document(name.decode()) for name, _ in oldest))

    def _remember(self, hash: str, kept: Kept) -> None:
        self._recent[hash] = kept
        self._recent.move_to_end(hash)
        if len(self._recent) > CACHED_DOCUMENTS:
            self._recent.popitem(last=False)

    def _fresh(self, text: str) -> Kept:
        return Kept(text, time.monotonic() + REFRESHED_AFTER * self._ttl_seconds)

    @property
    def _ttl_ms(self) -> int:
        return max(1, int(self._ttl_seconds * 1_000))

    def _document(self, hash: str) -> str:
        return self._valkey.key("document", hash)

    def _documents_of(self, user: str) -> str:
        return self._valkey.key("documents-of", user)


def digest(text: bytes) -> str:
    """The hash that names a document: SHA-256, in hexadecimal."""
    return hashlib.sha256(text).hexdigest()


def encoded(text: str) -> bytes:
    """A document's bytes; what is no Unicode has some too, and fails when it is parsed."""
    return text.encode(errors="surrogatepass")
