"""What a request is answered that no operation comes of, wherever it is turned away."""

from typing import Any, Final

import orjson

from app.errors import ErrorCode

# In this media type alone a status other than 200 speaks for GraphQL.
GRAPHQL_JSON: Final = "application/graphql-response+json"


def refusal(message: str, code: ErrorCode = ErrorCode.INVALID_INPUT, **extensions: Any) -> bytes:
    """A response with one error and nothing else, of the media type GRAPHQL_JSON."""
    return orjson.dumps({"errors": [{"message": message, "extensions": {"code": code, **extensions}}]})
