"""Operations are charged to their user's rates once they are known to be valid, before they are executed."""

from dataclasses import replace
from typing import Any

from graphql import GraphQLError
from strawberry.extensions.field_extension import AsyncExtensionResolver, FieldExtension
from strawberry.types import Info
from strawberry.types.execution import PreExecutionError

from app.errors import RateLimited
from schema.operation import Operation


async def charge(operation: Operation) -> PreExecutionError | None:
    """Refuse a query or subscription that is too much; the fields of such a mutation say so themselves."""
    context = operation.context
    assert operation.known is not None
    count = operation.known.mutations
    try:
        await context.services.rates.charge(context.caller.subject, mutations=count, cost=operation.cost or 0)
    except RateLimited as error:
        operation.context = replace(context, refusal=error)
        if not count:
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
