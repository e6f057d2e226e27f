"""Introspection as tools ask for it, and as attackers do."""

from graphql import get_introspection_query

INTROSPECTION = get_introspection_query()

CIRCLE = "{ __schema { types { fields " + "{ type { fields " * 4 + "{ name }" + " } }" * 4 + " } } }"
"""From types to their fields to their types, which grows with each turn."""
