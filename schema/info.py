"""The `info` of our resolvers, and what it tells of the selection."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from graphql import FieldNode
from strawberry.types import Info as StrawberryInfo

from app.rendering import Fieldset
from resolvers.context import Context
from schema.selections import fields


@dataclass
class Info(StrawberryInfo[Context, None]):
    """What a resolver is told; `fieldset` is what is selected of the records that its value is made of.

    It is None where that takes whole records.
    """

    fieldset: Fieldset | None = None


def selects(info: Info, *paths: str) -> bool:
    """Whether the field being resolved has a subfield in its selection at any of the paths: `nodes.input`."""
    # strawberry's own view of the nodes is built anew each time.
    raw = info._raw_info  # noqa: SLF001
    return any(_selected(raw.field_nodes, path.split("."), raw.fragments) for path in paths)


def _selected(nodes: Iterable[FieldNode], path: list[str], fragments: Any) -> bool:
    name, *below = path
    found = [each for node in nodes for each in _subfields(node, fragments) if each.name.value == name]
    return _selected(found, below, fragments) if below else bool(found)


def _subfields(node: FieldNode, fragments: Any) -> Iterator[FieldNode]:
    return fields(node.selection_set, dict(fragments))
