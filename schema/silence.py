"""Where introspection is off, no message gives a name or a type of the schema away."""

from graphql import GraphQLError
from graphql.validation.validate import ValidationAbortedError

SWITCHED_OFF = "Introspection is switched off here: ask whoever runs this API for its schema."
DOES_NOT_FIT = "This does not fit the schema: ask whoever runs this API for it."


def nameless(errors: list[GraphQLError]) -> list[GraphQLError]:
    """The errors with their places, but without GraphQL's own words: those name what would have fitted."""
    return [each if _is_ours(each) else GraphQLError(DOES_NOT_FIT, each.nodes) for each in errors]


def _is_ours(error: GraphQLError) -> bool:
    return error.message == SWITCHED_OFF or isinstance(error, ValidationAbortedError)
