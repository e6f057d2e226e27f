"""Operations are charged to their user's rates once they are known to be valid, before they are executed."""

from dataclasses import replace
from typing import Any

from graphql import GraphQLError, get_operation_ast
from strawberry.extensions.field_extension import AsyncExtensionResolver, FieldExtension
from strawberry.types import Info
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from app.errors import RateLimited
from schema.operation import Operation
from schema.selections import fields, fragments


async def charge(operation: Operation) -> PreExecutionError | None:
    """Refuse a query or subscription that is too much; the fields of such a mutation say so themselves."""
    context = operation.context
    is_mutation = operation.operation_type is OperationType.MUTATION
    count = _mutations(operation) if is_mutation else 0
    try:
        await context.services.rates.charge(context.caller.subject, mutations=count, cost=operation.cost or 0)
    except RateLimited as error:
        operation.context = replace(context, refusal=error)
        if not is_mutation:
            return PreExecutionError(data=None, errors=[GraphQLError(error.message, original_error=error)])
    return None


class Chargeable(FieldExtension):
    """A mutation that is not done where its operation is refused."""

    async def resolve_async(
        self, next_: AsyncExtensionResolver, source: Any, info: Info, **arguments: Any
    ) -> Any:
        if info.context.refusal is not None:
            raise info.context.refusal
        return await next_(source, info, **arguments)


def _mutations(operation: Operation) -> int:
    """How many fields a mutation has at its root, those too that its variables leave out."""
    document = operation.graphql_document
    assert document is not None
    chosen = get_operation_ast(document, operation.operation_name)
    assert chosen is not None
    chosen_fields = fields(chosen.selection_set, fragments(document))
    return len({(each.alias or each.name).value for each in chosen_fields})
