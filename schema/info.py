"""The `info` of our resolvers, and what it tells of the selection."""

from strawberry.types import Info as StrawberryInfo

from resolvers.context import Context
from schema.selections import fields

Info = StrawberryInfo[Context, None]


def selects(info: Info, field: str) -> bool:
    """Whether the field being resolved has a direct subfield of that name in its selection."""
    # strawberry's own view of the nodes is built anew each time.
    raw = info._raw_info  # noqa: SLF001
    return any(
        each.name.value == field
        for node in raw.field_nodes
        for each in fields(node.selection_set, dict(raw.fragments))
    )
