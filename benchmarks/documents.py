"""The GraphQL operations that are measured."""

# Every field of an execution that is neither computed nor an object nor a list.
FIELDS = """
    id status version input output startedBy temporalWorkflowId temporalRunId
    createdAt startedAt completedAt updatedAt
"""

LIST = f"""
query List($first: Int!, $after: String) {{
  executions(first: $first, after: $after) {{ nodes {{ {FIELDS} }} pageInfo {{ hasNextPage endCursor }} }}
}}
"""
ONE = f"query One($id: ID!) {{ execution(id: $id) {{ {FIELDS} }} }}"
NESTED = """
query Nested($first: Int!) {
  executions(first: $first) {
    nodes {
      id status createdAt
      workflow { id name }
      history(first: 5) { nodes { type message timestamp } }
    }
    pageInfo { hasNextPage endCursor }
  }
}
"""
TOTAL = "{ executions(first: 1) { totalCount } }"
STATS = "{ executionStats { total byStatus { status count } } }"
START = """
mutation Start($input: StartExecutionInput!) {
  startExecution(input: $input) {
    ... on StartExecutionSuccess { execution { id status version temporalWorkflowId temporalRunId } }
    ... on Error { code message }
  }
}
"""
NODE_START = """
mutation Start($input: StartExecutionInput!) {
  startExecution(input: $input) { id status version temporalWorkflowId temporalRunId }
}
"""
FEED = """
subscription Feed {
  executionFeed { cursor type status version message timestamp execution { id status version updatedAt } }
}
"""

_PG_FIELDS = f"id: rowId {FIELDS.replace('id status', 'status', 1)}"
_PG_NEWEST = "condition: {ownerId: $owner}, orderBy: [CREATED_AT_DESC, ROW_ID_DESC]"
PG_LIST = f"""
query List($owner: String!, $first: Int!, $after: Cursor) {{
  allExecutions(first: $first, after: $after, {_PG_NEWEST}) {{
    nodes {{ {_PG_FIELDS} }} pageInfo {{ hasNextPage endCursor }}
  }}
}}
"""
PG_SKIP = f"""
query Skip($owner: String!, $offset: Int!) {{
  allExecutions(first: 1, offset: $offset, {_PG_NEWEST}) {{ pageInfo {{ endCursor }} }}
}}
"""
PG_ONE = f"query One($id: UUID!) {{ executionByRowId(rowId: $id) {{ {_PG_FIELDS} }} }}"
PG_NESTED = f"""
query Nested($owner: String!, $first: Int!) {{
  allExecutions(first: $first, {_PG_NEWEST}) {{
    nodes {{
      id: rowId status createdAt
      workflow: workflowByWorkflowId {{ id: rowId name }}
      history: executionEventsByExecutionId(first: 5, orderBy: [VERSION_ASC]) {{
        nodes {{ type message timestamp }}
      }}
    }}
    pageInfo {{ hasNextPage endCursor }}
  }}
}}
"""
PG_TOTAL = (
    "query Total($owner: String!) { allExecutions(first: 1, condition: {ownerId: $owner}) { totalCount } }"
)
_PG_STATUSES = " ".join(
    f'{status}: allExecutions(condition: {{ownerId: $owner, status: "{status}"}}) {{ totalCount }}'
    for status in ("PENDING", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED")
)
PG_STATS = f"query Stats($owner: String!) {{ {_PG_STATUSES} }}"
