"""Documents that a request names instead of sending them: trusted ones, and those that clients had kept."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson
from graphql import GraphQLError

from app.errors import DocumentNotTrusted, PersistedQueryNotFound, PersistedQueryNotSupported
from app.persisted import PersistedQueries, digest, encoded
from app.settings import InvalidSettings

APOLLO_FORMAT = "apollo-persisted-query-manifest"

_NOTHING = type(None)
_SHAPE: tuple[tuple[str, tuple[type, ...], str], ...] = (
    ("query", (str, _NOTHING), "a string"),
    ("documentId", (str, _NOTHING), "a string or null"),
    ("operationName", (str, _NOTHING), "a string or null"),
    ("variables", (dict, _NOTHING), "an object or null"),
    ("extensions", (dict, _NOTHING), "an object or null"),
)
_SHA256 = re.compile("[0-9a-f]{64}")
_PREFIX = "sha256:"


def misshapen(request: object) -> str | None:
    """What keeps JSON from being a GraphQL request, whichever way it came; None where nothing does."""
    if not isinstance(request, dict):
        return "A request must be a JSON object with a `query`."
    for key, kinds, what in _SHAPE:
        if not isinstance(request.get(key), kinds):
            return f"`{key}` must be {what}."
    return None


class Asked(str):
    """The text of a request's document, empty where there is none, and what else names the document.

    `persisted` stands in `extensions.persistedQuery`, and is None where nothing does.
    """

    document_id: str | None
    extensions: Mapping[str, Any]
    persisted: object
    names_document: bool

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Self:
        """What a request of the right shape asks for, as each transport carries it."""
        asked = cls(request.get("query") or "")
        asked.document_id = request.get("documentId")
        asked.extensions = request.get("extensions") or {}
        asked.persisted = asked.extensions.get("persistedQuery")
        asked.names_document = asked.document_id is not None or asked.persisted is not None
        return asked

    def hash(self) -> str | None:
        """The hash that names the document; raises GraphQLError for what is none."""
        match self.persisted:
            case None:
                named = (self.document_id or "").removeprefix(_PREFIX)
                return named if self.document_id == _PREFIX + named and _SHA256.fullmatch(named) else None
            case {"version": 1, "sha256Hash": str(hash)} if _SHA256.fullmatch(hash):
                return hash
        raise GraphQLError(
            "`extensions.persistedQuery` must be an object with `version` 1 and the `sha256Hash`: 64 digits "
            "of lower-case hexadecimal."
        )


@dataclass(frozen=True)
class Documents:
    """What may be executed: any document, or with `only` none but the trusted ones.

    `trusted` has the text of each under all of its names: its id and its hash.
    """

    trusted: Mapping[str, str] = field(default_factory=dict)
    only: bool = False

    async def text(self, asked: Asked, kept: PersistedQueries | None) -> str:
        """The document that is asked for, empty where none is; `kept` is None where none are kept.

        Raises GraphQLError for a name of another text, a DomainError for a document that cannot be had.
        """
        if asked and not asked.names_document and not self.only:
            return str(asked)
        if (trusted := self._named(asked)) is not None:
            _agree(not asked or asked == trusted)
            return trusted
        hash = asked.hash()
        if asked:
            _agree(hash in (None, digest(encoded(asked))))
        if self.only and (asked or asked.names_document) and digest(encoded(asked)) not in self.trusted:
            raise DocumentNotTrusted
        if asked or not asked.names_document:
            return str(asked)
        return await _found(asked, hash, kept)

    async def keep(self, asked: Asked, kept: PersistedQueries | None, user: str) -> None:
        """Keep a valid document that came with its hash for those who will name it."""
        if kept is None or not asked or not asked.names_document or self._named(asked) is not None:
            return
        if hash := asked.hash():
            await kept.keep(hash, asked, user)

    def _named(self, asked: Asked) -> str | None:
        """The trusted document that is meant by any of the names."""
        names = [asked.document_id or ""]
        match asked.persisted:
            case {"sha256Hash": str(name)}:
                names.append(name)
        return next((self.trusted[name] for name in names if name in self.trusted), None)


def _agree(agreed: bool) -> None:
    if not agreed:
        raise GraphQLError("The name that came with the document is another's: the hash is not of this text.")


async def _found(asked: Asked, hash: str | None, kept: PersistedQueries | None) -> str:
    if kept is None and asked.persisted is not None:
        raise PersistedQueryNotSupported
    text = None if kept is None or hash is None else await kept.find(hash)
    if text is None:
        raise PersistedQueryNotFound
    return text


def manifest(path: Path, check: Callable[[str], list[GraphQLError]]) -> Mapping[str, str]:
    """The trusted documents in a file, under all of their names.

    It has the format of Apollo's generate-persisted-query-manifest, or is an object of ids and texts as
    graphql-codegen's client preset writes it. Raises InvalidSettings where it is neither, or for the first
    document in which `check` finds errors.
    """
    trusted: dict[str, str] = {}
    for id, text in _entries(_read(path)):
        if not isinstance(text, str) or not id:
            raise _bad(f"document {id!r} of {path} must have an id and a text")
        if errors := check(text):
            raise _bad(f"document {id!r} of {path} is not valid: {errors[0].message}")
        hash = digest(encoded(text))
        for name in (id, hash, _PREFIX + hash):
            if trusted.setdefault(name, text) != text:
                raise _bad(f"{path} has two documents for the name {name!r}")
    return trusted


def _read(path: Path) -> object:
    try:
        return orjson.loads(path.read_bytes())
    except OSError as error:
        raise _bad(f"{path} cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise _bad(f"{path} is not JSON: {error}") from error


def _entries(content: object) -> Iterator[tuple[str, object]]:
    match content:
        case {"format": "apollo-persisted-query-manifest", "version": 1, "operations": list(operations)}:
            yield from map(_entry, operations)
        case {"format": _, "operations": _}:
            raise _bad(f"of the formats with `operations` only {APOLLO_FORMAT!r}, version 1, is known")
        case dict():
            yield from content.items()
        case _:
            raise _bad("the manifest must be a JSON object")


def _entry(operation: object) -> tuple[str, object]:
    match operation:
        case {"id": str(id), "body": body}:
            return id, body
    raise _bad("each of the manifest's `operations` must have an `id` and a `body`")


def _bad(what: str) -> InvalidSettings:
    return InvalidSettings(f"TRUSTED_DOCUMENTS: {what}")
