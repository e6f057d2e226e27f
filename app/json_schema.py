"""JSON Schema 2020-12: what is wrong with a schema, and with a value by a schema.

The library holds Python's lock while it works, and a small schema can keep it busy for years: whoever
calls this in the API's process weighs the schema first. `python -m app.json_schema <seconds>` is a process
that answers one line with another, and dies of a question that takes longer: see `app.judge`.
"""

import resource
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache, lru_cache
from itertools import islice
from math import inf
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import orjson

DRAFT = "https://json-schema.org/draft/2020-12/schema"
MAX_FINDINGS = 50
MAX_MESSAGE_CHARACTERS = 300
MAX_POINTER_CHARACTERS = 300
MAX_SCHEMA_BYTES = 65_536
# What a pattern compiles to: the engine is linear in it and in the text.
MAX_PATTERN_BYTES, MAX_PATTERN_CACHE_BYTES = 200_000, 2_000_000
# A chain of references longer than this is not followed to its end.
MAX_CHAIN = 100
BYTES_PER_WEIGHT = 8
PATTERN_WEIGHT = 50.0
MAX_PROCESS_BYTES = 2**30
READY = b"ready\n"

# A JSON Pointer and what is wrong there.
Finding = tuple[str, str]

_ONE = (
    *("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
_LIST = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAP = ("$defs", "dependentSchemas", "patternProperties", "properties")
_SUBSCHEMAS = frozenset({*_ONE, *_LIST, *_MAP})
# What is for people: no value is held against it.
_ANNOTATIONS = frozenset(
    {"$comment", "default", "deprecated", "description", "examples", "readOnly", "title", "writeOnly"}
)
_EVALUATED_AGAIN = frozenset({"unevaluatedItems", "unevaluatedProperties"})


def accepts(schema: str, value: Any) -> bool:
    """Whether a value satisfies a schema, given as JSON text; raises ValueError for a bad schema."""
    return _compiled(schema).is_valid(value)


def findings(schema: str, value: Any, *, every: bool = True) -> list[Finding]:
    """What is wrong with a value: a bounded number, or the first thing alone, which takes no longer than
    `accepts`; raises ValueError for a bad schema.
    """
    validator = _compiled(schema)
    if validator.is_valid(value):
        return []
    if every:
        return _told(validator.iter_errors(value))
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        return _told([error])
    return []


def schema_findings(schema: Any) -> list[Finding]:
    """What is wrong with a schema by the draft's own, or what keeps it from being used."""
    found = _told(_draft().iter_errors(schema))
    if found:
        return found
    try:
        _compiled(orjson.dumps(schema).decode())
    except jsonschema_rs.ValidationError as error:
        return _told([error])
    return []


class Survey:
    """A schema walked once, without the library: `weight` and `findings` of what can be told beforehand.

    The weight is how many steps one value may take, at most, with references followed: infinite where
    the schema is recursive. Multiplied by the size of an input it bounds the work.
    """

    def __init__(self, schema: Any) -> None:
        self.findings: list[Finding] = []
        self._root = schema
        self._weights: dict[str, float] = {}
        self.weight = self._weigh("", schema, 0)

    def _weigh(self, path: str, node: Any, depth: int) -> float:
        if path in self._weights:
            return self._weights[path]
        # Met again before it is known, it refers to itself.
        self._weights[path] = inf
        if depth > MAX_CHAIN or not isinstance(node, dict):
            return inf if depth > MAX_CHAIN else 1.0
        weight = 1.0 + sum(self._keyword(path, *each, depth) for each in node.items())
        self._weights[path] = weight
        return weight

    def _keyword(self, path: str, name: str, value: Any, depth: int) -> float:
        here = f"{path}/{escape(name)}"
        if name == "$ref":
            return self._reference(here, value, depth)
        self._note_limits(path, name, value)
        if name == "$dynamicRef":
            return inf
        if name in _ANNOTATIONS:
            return 0.0
        if name not in _SUBSCHEMAS:
            own = PATTERN_WEIGHT if name == "pattern" else 1.0
            return own + len(orjson.dumps(value)) // BYTES_PER_WEIGHT
        below = sum(self._weigh(place, node, depth + 1) for place, node in _below(here, name, value))
        own = PATTERN_WEIGHT * len(value) if name == "patternProperties" and isinstance(value, dict) else 1.0
        return inf if name in _EVALUATED_AGAIN else own + below

    def _note_limits(self, path: str, name: str, value: Any) -> None:
        here = f"{path}/{escape(name)}"
        if name == "$id" and path:
            self._find(here, "must be at the root alone")
        elif name == "$schema" and value not in (DRAFT, DRAFT + "#"):
            self._find(here, f"must be {DRAFT}")
        elif name == "$dynamicRef" and not (isinstance(value, str) and value.startswith("#")):
            self._find(here, "must refer within this schema: nothing is fetched")

    def _reference(self, path: str, reference: Any, depth: int) -> float:
        if not isinstance(reference, str) or not reference.startswith("#"):
            self._find(path, "must refer within this schema, as in #/$defs/name: nothing is fetched")
            return inf
        pointer = unquote(reference[1:])
        if pointer and not pointer.startswith("/"):
            return inf  # An anchor: the library finds it.
        try:
            return self._weigh(pointer, _resolved(self._root, pointer), depth + 1)
        except LookupError:
            self._find(path, "refers to nothing in this schema")
            return inf

    def _find(self, path: str, message: str) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append((path[:MAX_POINTER_CHARACTERS], message))


def escape(token: str) -> str:
    """One reference token of a JSON Pointer (RFC 6901, section 3)."""
    return token.replace("~", "~0").replace("/", "~1")


def _below(path: str, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The subschemas that a keyword has, each with its place."""
    if name in _ONE:
        yield path, value
    elif isinstance(value, list):
        yield from ((f"{path}/{place}", node) for place, node in enumerate(value))
    elif isinstance(value, dict):
        yield from ((f"{path}/{escape(key)}", node) for key, node in value.items())


def _resolved(root: Any, pointer: str) -> Any:
    """What a pointer points at; raises LookupError."""
    node = root
    for token in pointer.split("/")[1:]:
        plain = token.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and plain.isdecimal():
            node = node[int(plain[:6])]
        elif isinstance(node, dict):
            node = node[plain]
        else:
            raise LookupError(pointer)
    return node


def _refuse(uri: str) -> Any:
    raise ValueError("nothing is fetched")


@lru_cache(maxsize=256)
def _compiled(schema: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.Draft202012Validator(
        orjson.loads(schema),
        retriever=_refuse,
        validate_formats=False,
        pattern_options=jsonschema_rs.RegexOptions(MAX_PATTERN_BYTES, MAX_PATTERN_CACHE_BYTES),
    )


@cache
def _draft() -> jsonschema_rs.Validator:
    return jsonschema_rs.Draft202012Validator({"$ref": DRAFT}, retriever=_refuse)


def _told(errors: Iterable[jsonschema_rs.ValidationError]) -> list[Finding]:
    """Each error once, with its place, cut to a length that can be shown."""
    found = (_finding(error) for error in islice(errors, MAX_FINDINGS))
    return list(dict.fromkeys(found))


def _finding(error: jsonschema_rs.ValidationError) -> Finding:
    path = "".join(f"/{escape(str(token))}" for token in error.instance_path)
    message = error.message
    if message.endswith('is not a "regex"'):
        message += ": write it without lookaround and back-references, and with smaller counts"
    return path[:MAX_POINTER_CHARACTERS], _cut(message)


def _cut(message: str) -> str:
    if len(message) <= MAX_MESSAGE_CHARACTERS:
        return message
    half = MAX_MESSAGE_CHARACTERS // 2
    return f"{message[:half]} … {message[-half:]}"


def _answer(schema: str, question: dict[str, Any]) -> list[Finding]:
    """The findings of a schema itself, or of the value that is given with it."""
    return findings(schema, **question) if question else schema_findings(orjson.loads(schema))


def serve(seconds: float) -> None:
    """Answer questions, a line each, until the input ends; one that takes longer than `seconds` ends us."""
    # Ctrl-C goes to all of a terminal's processes: this one ends with its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MAX_PROCESS_BYTES, MAX_PROCESS_BYTES))
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    for line in sys.stdin.buffer:
        # Its default action needs no lock of Python's: nothing holds it up.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            answer: Any = _answer(*orjson.loads(line))
        except ValueError as error:
            answer = _cut(str(error))
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve(float(sys.argv[1]))
