"""What a document selects, read without executing it."""

from collections.abc import Iterator

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    SelectionSetNode,
)


def fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    """The fragments of a document by their names."""
    return {
        each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
    }


def fields(
    selections: SelectionSetNode | None, fragments: dict[str, FragmentDefinitionNode]
) -> Iterator[FieldNode]:
    """The fields of a selection, each fragment looked at once: it is taken from `fragments`."""
    for node in selections.selections if selections else ():
        match node:
            case FieldNode():
                yield node
            case InlineFragmentNode():
                yield from fields(node.selection_set, fragments)
            case FragmentSpreadNode():
                fragment = fragments.pop(node.name.value, None)
                yield from fields(fragment.selection_set if fragment else None, fragments)
