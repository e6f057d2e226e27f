"""The `info` of our resolvers, and what it tells of the selection."""

from graphql import FieldNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode
from strawberry.types import Info as StrawberryInfo

from resolvers.context import Context

Info = StrawberryInfo[Context, None]


def selects(info: Info, field: str) -> bool:
    """Whether the field being resolved has a direct subfield of that name in its selection."""
    nodes = info._raw_info.field_nodes  # noqa: SLF001 - strawberry's own view of it is built anew each time
    return any(_has(info, node.selection_set, field) for node in nodes)


def _has(info: Info, selections: SelectionSetNode | None, field: str) -> bool:
    if selections is None:
        return False
    for node in selections.selections:
        match node:
            case FieldNode():
                found = node.name.value == field
            case InlineFragmentNode():
                found = _has(info, node.selection_set, field)
            case FragmentSpreadNode():
                found = _has(info, info._raw_info.fragments[node.name.value].selection_set, field)  # noqa: SLF001
            case _:
                found = False
        if found:
            return True
    return False
