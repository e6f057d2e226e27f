"""The `info` of our resolvers, and what it tells of the selection."""

from collections.abc import Iterator

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    SelectionSetNode,
)
from strawberry.types import Info as StrawberryInfo

from resolvers.context import Context

Info = StrawberryInfo[Context, None]


def selects(info: Info, field: str) -> bool:
    """Whether the field being resolved has a direct subfield of that name in its selection."""
    # strawberry's own view of the nodes is built anew each time.
    raw = info._raw_info  # noqa: SLF001
    return any(
        field == each for node in raw.field_nodes for each in _names(node.selection_set, dict(raw.fragments))
    )


def _names(
    selections: SelectionSetNode | None, fragments: dict[str, FragmentDefinitionNode]
) -> Iterator[str]:
    """The names of the fields in a selection, each fragment looked at once: it is taken from `fragments`."""
    for node in selections.selections if selections else ():
        match node:
            case FieldNode():
                yield node.name.value
            case InlineFragmentNode():
                yield from _names(node.selection_set, fragments)
            case FragmentSpreadNode():
                fragment = fragments.pop(node.name.value, None)
                yield from _names(fragment.selection_set if fragment else None, fragments)
