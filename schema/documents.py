"""Documents parsed once and validated once, within bounds."""

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache

from graphql import DocumentNode, GraphQLError, parse
from strawberry.extensions import SchemaExtension

MAX_TOKENS = 2_000
CACHED_DOCUMENTS = 1_000


@lru_cache(maxsize=CACHED_DOCUMENTS)
def _parsed(query: str) -> DocumentNode:
    return parse(query, max_tokens=MAX_TOKENS)


class CachedParse(SchemaExtension):
    """Parses through a cache; a failure is left to strawberry's own parse, which every transport reports."""

    def on_parse(self) -> Iterator[None]:
        self.execution_context.parse_options = {"max_tokens": MAX_TOKENS}
        if self.execution_context.query:
            with suppress(GraphQLError, RecursionError):
                self.execution_context.graphql_document = _parsed(self.execution_context.query)
        yield
