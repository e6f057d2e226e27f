"""Who is asking."""

from app.auth import Caller
from app.errors import DomainError, Forbidden, NotFound
from app.records import EventRecord, ExecutionRecord, WorkflowRecord
from resolvers.context import Context, parse_id
from resolvers.events import event
from resolvers.executions import execution
from resolvers.workflows import workflow

NodeRecord = WorkflowRecord | ExecutionRecord | EventRecord


def viewer(context: Context) -> Caller:
    """The caller, as their token says."""
    return context.caller


async def node(context: Context, id: str) -> NodeRecord:
    """The workflow, execution or event with that id; raises NotFound or Forbidden."""
    if ":" in id:
        return await event(context, id)
    parse_id("node", id)
    refusal: DomainError = NotFound("node", id)
    for find in (execution, workflow):
        try:
            return await find(context, id)
        except NotFound:
            continue
        except Forbidden as error:
            # A kind that the token may not read hides no other.
            if error.required_scope is None:
                raise
            refusal = error
    raise refusal
