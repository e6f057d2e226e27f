"""What an HTTP request may be made of, and what its response may be: RFC 9110, GraphQL over HTTP."""

from dataclasses import dataclass, field
from http import HTTPStatus

from app.errors import ErrorCode
from app.refusals import GRAPHQL_JSON

JSON = "application/json"
METHODS = "GET, POST, OPTIONS"
MAX_MEDIA_RANGES = 50


@dataclass
class Refused(Exception):
    """A request is not taken; the headers say what would be."""

    status: HTTPStatus
    message: str
    headers: dict[str, str] = field(default_factory=dict)
    code: ErrorCode = ErrorCode.INVALID_INPUT


def check_method(method: str) -> None:
    """Raise Refused (405) for any method but GET and POST."""
    if method not in ("GET", "POST"):
        raise Refused(
            HTTPStatus.METHOD_NOT_ALLOWED, "GraphQL is spoken with GET and POST.", {"Allow": METHODS}
        )


def check_body(content_type: str, content_encoding: str) -> None:
    """Raise Refused (415) unless a body is plain JSON in UTF-8, which no form of a browser can send."""
    if content_type == JSON and not content_encoding:
        return
    kind, _, parameters = content_type.lower().partition(";")
    charsets = [word for word in map(str.strip, parameters.split(";")) if word.startswith("charset")]
    if kind.strip() != JSON or not {word.replace('"', "") for word in charsets} <= {"charset=utf-8"}:
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Send the content type {JSON}, in UTF-8.",
            {"Accept-Post": JSON},
        )
    if content_encoding.strip().lower() not in ("", "identity"):
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the body uncompressed.", {"Accept-Encoding": "identity"}
        )


def json_type(accept: str) -> str | None:
    """The media type of a JSON response: the newer one for those who prefer it by name; None if refused."""
    qualities = _qualities(accept or "*/*")
    newer = qualities.get(GRAPHQL_JSON, 0.0)
    older = max(qualities.get(name, 0.0) for name in (JSON, "application/*", "*/*"))
    if not newer and not older:
        return None
    return GRAPHQL_JSON if newer >= qualities.get(JSON, 0.0) and newer else JSON


def not_acceptable() -> Refused:
    """The refusal of a request that accepts nothing which there is."""
    offered = f"{GRAPHQL_JSON}, {JSON}, text/event-stream or multipart/mixed;subscriptionSpec=1.0"
    return Refused(HTTPStatus.NOT_ACCEPTABLE, f"Accept {offered}.")


def _qualities(accept: str) -> dict[str, float]:
    """The media ranges of an Accept header, and how much each is wanted."""
    found = {}
    for each in accept.lower().split(",")[:MAX_MEDIA_RANGES]:
        name, *parameters = map(str.strip, each.split(";"))
        weights = [word[2:] for word in parameters if word.startswith("q=")]
        found[name] = _weight(weights[0]) if weights else 1.0
    return found


def _weight(text: str) -> float:
    """A quality as RFC 9110 writes it; what is none counts as one."""
    digits = text.replace(".", "", 1)
    return min(float(text), 1.0) if digits.isascii() and digits.isdigit() else 1.0
