"""The operations that the playground opens with, one tab each; the tests run them all."""

EXECUTIONS = """\
# Your newest executions; the filter is in the
# variables. Run this with the button or Ctrl-Enter.
query Executions($filter: ExecutionFilter) {
  executions(first: 10, filter: $filter) {
    totalCount
    nodes {
      id
      status
      version
      createdAt
      duration
      workflow {
        name
      }
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
"""

WATCH = """\
# All that happens to your executions, live.
# Leave it running and start one.
subscription Watch {
  executionFeed {
    type
    message
    timestamp
    execution {
      id
      status
      version
    }
  }
}
"""

WORKFLOWS = """\
# What you may start. Copy an id
# into the variables of the next tab.
query Workflows {
  workflows {
    nodes {
      id
      name
      description
      workflowType
      taskQueue
    }
  }
}
"""

START = """\
# Start a workflow: its id goes into the
# variables below. `input` may be left out.
mutation Start($workflowId: ID!, $input: JSON) {
  startExecution(input: { workflowId: $workflowId, input: $input }) {
    __typename
    ... on StartExecutionSuccess {
      cursor
      execution {
        id
        status
      }
    }
    ... on Error {
      code
      message
    }
  }
}
"""

HISTORY = """\
# One execution and its events so far.
query History($id: ID!) {
  execution(id: $id) {
    status
    input
    output
    failure {
      reason
      message
    }
    history(first: 100) {
      nodes {
        type
        message
        timestamp
        actor
        details
      }
    }
  }
}
"""

FOLLOW = """\
# One execution: what has happened,
# then live, to its end.
subscription Follow($id: ID!) {
  executionEvents(executionId: $id) {
    type
    message
    cursor
    execution {
      status
    }
  }
}
"""

UPDATE = """\
# Pause an execution, or let it go on with RUNNING;
# end it by hand with COMPLETED or FAILED.
mutation Update($id: ID!, $status: ExecutionStatus!) {
  updateExecution(input: { id: $id, status: $status }) {
    __typename
    ... on UpdateExecutionSuccess {
      execution {
        status
        allowedActions
      }
    }
    ... on Error {
      code
      message
    }
  }
}
"""

CANCEL = """\
# Ask a running workflow to cancel itself.
mutation Cancel($id: ID!) {
  cancelExecution(input: { id: $id, reason: "not needed any more" }) {
    __typename
    ... on CancelExecutionSuccess {
      execution {
        status
      }
    }
    ... on Error {
      code
      message
    }
  }
}
"""

STATISTICS = """\
# How many there are, how long they took, and when.
query Statistics {
  executionStats {
    total
    byStatus {
      status
      count
    }
    durationP50
    durationP95
    timeline(bucket: HOUR) {
      start
      counts {
        status
        count
      }
    }
  }
}
"""

_ID = '{\n  "id": ""\n}'

OPERATIONS = [
    {"name": "Executions", "query": EXECUTIONS, "variables": '{\n  "filter": {}\n}'},
    {"name": "Watch", "query": WATCH},
    {"name": "Workflows", "query": WORKFLOWS},
    {"name": "Start", "query": START, "variables": '{\n  "workflowId": ""\n}'},
    {"name": "History", "query": HISTORY, "variables": _ID},
    {"name": "Follow", "query": FOLLOW, "variables": _ID},
    {"name": "Update", "query": UPDATE, "variables": '{\n  "id": "",\n  "status": "PAUSED"\n}'},
    {"name": "Cancel", "query": CANCEL, "variables": _ID},
    {"name": "Statistics", "query": STATISTICS},
]
