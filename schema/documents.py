"""Documents read once: parsed, held against the limits, validated and priced."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from sys import getsizeof

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    ValidationContext,
    ValidationRule,
    parse,
    specified_rules,
    validate,
)
from graphql.execution.collect_fields import FieldDetails, FieldDetailsList, FragmentDetails
from graphql.language.parser import MAX_NESTING_DEPTH
from graphql.validation import ASTValidationRule
from graphql.validation.validate import ValidationAbortedError
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule
from strawberry.types.graphql import OperationType

from schema.cost import Price, price
from schema.limits import INTROSPECTION_FIELDS, Limits, excess, too_complex
from schema.selections import fields, fragments
from schema.silence import SWITCHED_OFF, nameless
from schema.variables import Types, Variables, types, variables

MAX_CACHED_BYTES = 50_000_000
# What becomes of a token, its node and its place included.
TOKEN_BYTES = 500
# Comparisons of fields with one another; what clients write needs a few hundred.
MAX_COMPARISONS = 20_000


@dataclass(frozen=True)
class Alone:
    """The one field of an operation: the key of its answer, and the type of object that it is a field of."""

    key: str
    details: FieldDetailsList
    root: GraphQLObjectType


@dataclass(frozen=True)
class Known:
    """What is known of a valid operation, whatever comes with it.

    `details` are of its fragments; `alone` is the one field at its root, where its variables take no part in
    that; `mutations` are those that it makes, even the ones that its variables leave out.
    """

    type: OperationType
    mutations: int
    node: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]
    details: dict[str, FragmentDetails]
    price: Price
    types: Types
    variables: Variables
    alone: Alone | None


@dataclass(frozen=True)
class Document:
    """A document that could be parsed: what is wrong with it, or else its operations by their names."""

    node: DocumentNode
    problems: list[GraphQLError] = field(default_factory=list)
    operations: Mapping[str | None, Known] = field(default_factory=dict)

    def operation(self, name: str | None) -> Known | None:
        """The operation of a name, or the only one where none is given."""
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        return None if name is None else self.operations.get(name)


class BoundedMerging(OverlappingFieldsCanBeMergedRule):
    """Gives up earlier than GraphQL's own rule, for which some documents take half a second."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self.rule_context.remaining_complexity_budget = MAX_COMPARISONS


class NoIntrospection(ValidationRule):
    """Refuses to tell of the schema."""

    def enter_field(self, node: FieldNode, *_: object) -> None:
        if node.name.value in INTROSPECTION_FIELDS:
            self.report_error(GraphQLError(SWITCHED_OFF, node))


def too_nested() -> GraphQLError:
    """The error of a document with too many braces or brackets, or fragments, within each other."""
    return too_complex("nesting", "levels of nesting", MAX_NESTING_DEPTH)


class Reader:
    """Reads documents; the latest ones are remembered."""

    def __init__(self, schema: GraphQLSchema, limits: Limits) -> None:
        self._schema = schema
        self._limits = limits
        self._rules = _rules(limits)
        self._read: OrderedDict[str, Document] = OrderedDict()
        self._bytes = 0

    def read(self, text: str) -> Document:
        """The document of a text; raises GraphQLError for one that cannot be parsed."""
        known = self._read.get(text)
        if known is not None:
            self._read.move_to_end(text)
            return known
        document = self._check(self._parse(text))
        self._remember(text, document)
        return document

    def _parse(self, text: str) -> DocumentNode:
        limits = self._limits
        if len(text) > limits.characters:
            raise too_complex("characters", "characters", limits.characters, len(text))
        try:
            return parse(text, max_tokens=limits.tokens)
        except GraphQLSyntaxError as error:
            if "nested too deeply" in error.message:
                raise too_nested() from None
            if "Parsing aborted" in error.message:
                raise too_complex("tokens", "tokens", limits.tokens) from None
            raise

    def _check(self, node: DocumentNode) -> Document:
        try:
            excessive = excess(node, self._limits)
            problems = [excessive] if excessive else self._validate(node)
            return Document(node, problems, {} if problems else self._operations(node))
        except RecursionError:
            return Document(node, [too_nested()])

    def _operations(self, node: DocumentNode) -> Mapping[str | None, Known]:
        named = fragments(node)
        return {
            each.name.value if each.name else None: self._known(node, each, named)
            for each in node.definitions
            if isinstance(each, OperationDefinitionNode)
        }

    def _known(
        self,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        named: dict[str, FragmentDefinitionNode],
    ) -> Known:
        found = variables(self._schema, operation)
        return Known(
            OperationType(operation.operation.value),
            _mutations(operation, named),
            operation,
            named,
            {name: FragmentDetails(each, None) for name, each in named.items()},
            price(self._schema, document, operation),
            types(found),
            found,
            _alone(self._schema, operation),
        )

    def _validate(self, node: DocumentNode) -> list[GraphQLError]:
        most = self._limits.errors
        errors = validate(self._schema, node, self._rules, max_errors=most)
        if errors and isinstance(errors[-1], ValidationAbortedError) and len(errors) <= most:
            what = "comparisons of its fields and fragments"
            return [too_complex("comparisons", what, MAX_COMPARISONS, node=node.definitions[0])]
        return errors if self._limits.introspection else nameless(errors)

    def _remember(self, text: str, document: Document) -> None:
        self._read[text] = document
        self._bytes += _bytes(text, document)
        while self._bytes > MAX_CACHED_BYTES:
            self._bytes -= _bytes(*self._read.popitem(last=False))


def _mutations(operation: OperationDefinitionNode, named: Mapping[str, FragmentDefinitionNode]) -> int:
    if OperationType(operation.operation.value) is not OperationType.MUTATION:
        return 0
    chosen = fields(operation.selection_set, dict(named))
    return len({(each.alias or each.name).value for each in chosen})


def _alone(schema: GraphQLSchema, operation: OperationDefinitionNode) -> Alone | None:
    root = schema.get_root_type(operation.operation)
    match operation.selection_set.selections:
        case (FieldNode() as node,) if root is not None and not node.directives:
            return Alone((node.alias or node.name).value, [FieldDetails(node, None)], root)
    return None


def _bytes(text: str, document: Document) -> int:
    """About what it takes to remember a document."""
    return 2 * getsizeof(text) + TOKEN_BYTES * document.node.token_count


def _rules(limits: Limits) -> tuple[type[ASTValidationRule], ...]:
    merging, bounded = OverlappingFieldsCanBeMergedRule, BoundedMerging
    rules = [bounded if rule is merging else rule for rule in specified_rules]
    mine = [] if limits.introspection else [NoIntrospection]
    return (*mine, *rules, MaybeNullValidationRule, OneOfInputValidationRule)
