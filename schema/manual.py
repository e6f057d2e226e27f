"""`python -m schema.manual`: prints docs/errors.md, all that can go wrong, out of the code."""

import sys
from collections.abc import Iterable, Iterator, Mapping

from graphql import (
    GraphQLEnumType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
)
from strawberry.utils.str_converters import to_snake_case

from app.errors import ErrorCode
from schema import sdl

# What an entry of `errors` carries in its extensions besides the code.
EXTENSIONS: Mapping[ErrorCode, Mapping[str, str]] = {
    ErrorCode.FORBIDDEN: {
        "requiredScope": "the scope that the token lacks; absent for another user's object"
    },
    ErrorCode.INVALID_INPUT: {
        "issues": (
            "what is wrong, each with the `path` of the argument (a JSON Pointer) and a `message`; absent "
            "where GraphQL itself refuses"
        )
    },
    ErrorCode.CURSOR_EXPIRED: {"cursor": "the feed's position now"},
    ErrorCode.RATE_LIMITED: {"retryAfter": "seconds to wait"},
    ErrorCode.QUERY_TOO_COMPLEX: {
        "limit": "the name of the limit that is exceeded ([limits.md](limits.md))",
        "max": "the most that it allows",
    },
    ErrorCode.UNAVAILABLE: {"retryAfter": "seconds to wait; absent where nobody knows"},
    ErrorCode.INTERNAL: {"errorId": "what the log has of it"},
}
# What to do about each kind of failure.
WAYS_OUT: Mapping[ErrorCode, str] = {
    ErrorCode.UNAUTHENTICATED: (
        "Get a new token and send it: over HTTP in `Authorization: Bearer …` (the response is a 401), over "
        "WebSocket in the payload of `connection_init` (the socket is closed with 4403, also when its token "
        "expires)."
    ),
    ErrorCode.FORBIDDEN: (
        "Ask for a token with the scope in `requiredScope`. Where there is none, the object is another "
        "user's: only they, or a token with the scope `admin`, may have it."
    ),
    ErrorCode.NOT_FOUND: "Check the id: take it, whole, from a list or from a mutation's answer.",
    ErrorCode.INVALID_INPUT: (
        "Mend what the message or each of the `issues` names, and send it again; nothing was done. Without "
        "`issues` it is the document itself that GraphQL refuses, or the request around it."
    ),
    ErrorCode.INVALID_TRANSITION: (
        "Read the execution anew and choose one of its `allowedActions`; one that has ended takes none."
    ),
    ErrorCode.VERSION_CONFLICT: (
        "Look at the `execution` that comes with it, and if you still want the change, repeat it with that "
        "`version` as `expectedVersion`."
    ),
    ErrorCode.IDEMPOTENCY_CONFLICT: (
        "Use a new key for a new request, or repeat the earlier request exactly; what that one started comes "
        "with the error."
    ),
    ErrorCode.NOT_SUPPORTED: "Do as the message says: it names what Temporal lacks or how to turn it on.",
    ErrorCode.RATE_LIMITED: "Wait for `retryAfter` seconds, then send it again.",
    ErrorCode.QUERY_TOO_COMPLEX: "Ask for less at a time: fewer levels, aliases or items per page.",
    ErrorCode.CURSOR_EXPIRED: (
        "Events were missed that are no longer kept: read the lists anew, then go on `after` the `cursor` in "
        "the extensions."
    ),
    ErrorCode.PERSISTED_QUERY_NOT_FOUND: (
        "Send the document's text together with its hash: from then on the hash alone will do. Clients with "
        "automatic persisted queries do so by themselves. A `documentId` that is not known is one that the "
        "server's manifest lacks."
    ),
    ErrorCode.PERSISTED_QUERY_NOT_SUPPORTED: (
        "Send the document's text, now and always; clients with automatic persisted queries do so by "
        "themselves."
    ),
    ErrorCode.DOCUMENT_NOT_TRUSTED: (
        "Send a document of the server's manifest, by its `documentId`, its hash or its exact text, or have "
        "whoever runs the API add this one."
    ),
    ErrorCode.UNAVAILABLE: (
        "Send it again, after `retryAfter` seconds where they are given. A start may be repeated safely with "
        "its `idempotencyKey`; whether another mutation was done, the execution shows. Where no token can be "
        "checked at present, it is a 503 over HTTP, and over WebSocket the socket is closed with 1013."
    ),
    ErrorCode.INTERNAL: "Tell whoever runs the API the `errorId`: it finds the fault in the log.",
}

INTRODUCTION = """# What can go wrong

Printed from the code by `make schema`; do not edit.

An **expected failure of a mutation** is a member of its result, beside the success: select
`... on Error { code message }`, and the members whose data you use. **Everything else** is an entry of
`errors` with its code in `extensions.code`: failures of queries and subscriptions, documents that GraphQL
refuses, requests without a token. `code` is stable, for programs; `message` is for people and may change.
"""


def manual() -> str:
    """docs/errors.md."""
    schema = build_schema(sdl())
    parts = [INTRODUCTION, *_codes(schema), *_members(schema)]
    return "\n".join(parts)


def _codes(schema: GraphQLSchema) -> Iterator[str]:
    codes = schema.type_map["ErrorCode"]
    assert isinstance(codes, GraphQLEnumType)
    yield "## Codes\n"
    yield "What each means, what an entry of `errors` carries in its `extensions` besides, and the way out.\n"
    yield from _table(
        ("Code", "Meaning", "In `extensions`", "Way out"),
        (
            (
                f"`{code}`",
                codes.values[code].description or "",
                _listed(EXTENSIONS.get(code, {})),
                WAYS_OUT[code],
            )
            for code in ErrorCode
        ),
    )
    yield ""


def _members(schema: GraphQLSchema) -> Iterator[str]:
    error = schema.type_map["Error"]
    assert isinstance(error, GraphQLInterfaceType)
    members = sorted(schema.get_possible_types(error), key=lambda member: member.name)
    yield "## Members of mutation results\n"
    yield "Each has `code` and `message`; what it carries besides, and which mutations answer with it.\n"
    yield from _table(
        ("Member", "`code`", "Meaning", "Carries", "Answered by"),
        (
            (
                f"`{member.name}`",
                f"`{code_of(member)}`",
                member.description or "",
                _listed(_own_fields(member, error)),
                ", ".join(f"`{name}`" for name in _mutations(schema, member)),
            )
            for member in members
        ),
    )
    yield ""


def code_of(member: GraphQLObjectType) -> ErrorCode:
    """The code of all failures of a member, which is named after it."""
    return ErrorCode(to_snake_case(member.name.removesuffix("Error")).upper())


def _own_fields(member: GraphQLObjectType, error: GraphQLInterfaceType) -> dict[str, str]:
    return {
        name: field.description or "" for name, field in member.fields.items() if name not in error.fields
    }


def _mutations(schema: GraphQLSchema, member: GraphQLObjectType) -> Iterator[str]:
    """The mutations that may answer with a member."""
    assert schema.mutation_type is not None
    for name, field in schema.mutation_type.fields.items():
        result = schema.type_map[str(field.type).rstrip("!")]
        if isinstance(result, GraphQLUnionType) and member in result.types:
            yield name


def _listed(parts: Mapping[str, str]) -> str:
    return "<br>".join(f"`{name}`: {description}" for name, description in parts.items()) or "—"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = list(head)
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


if __name__ == "__main__":
    sys.stdout.write(manual())
