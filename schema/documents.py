"""Documents parsed once and validated once, within bounds."""

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache

from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, parse
from strawberry.extensions import SchemaExtension

MAX_TOKENS = 2_000
CACHED_DOCUMENTS = 1_000


@lru_cache(maxsize=CACHED_DOCUMENTS)
def parsed(query: str) -> DocumentNode:
    """A document of bounded size; raises GraphQLError or RecursionError for any other text."""
    return parse(query, max_tokens=MAX_TOKENS)


class CachedParse(SchemaExtension):
    """Parses through a cache; a failure is left to strawberry's own parse, which every transport reports."""

    def on_parse(self) -> Iterator[None]:
        self.execution_context.parse_options = {"max_tokens": MAX_TOKENS}
        if self.execution_context.query:
            with suppress(GraphQLError, RecursionError):
                self.execution_context.graphql_document = parsed(self.execution_context.query)
        yield


class NamedOperation(SchemaExtension):
    """Refuses several operations without the name of one: strawberry would execute the first."""

    def on_validate(self) -> Iterator[None]:
        if self.execution_context._provided_operation_name is None and self._ambiguous():  # noqa: SLF001
            problem = GraphQLError("The document has several operations: send the `operationName` of one.")
            self.execution_context.pre_execution_errors = [problem]
        yield

    def _ambiguous(self) -> bool:
        document = self.execution_context.graphql_document
        definitions = document.definitions if document is not None else ()
        return sum(isinstance(each, OperationDefinitionNode) for each in definitions) > 1
