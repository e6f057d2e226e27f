// The part of the product's schema that is measured, with the same names.
import { createRequire } from 'node:module'

// graphql-js comes in two builds that do not know each other's objects; mercurius and graphql-jit use this one.
export const { GraphQLScalarType, parse, validate } = createRequire(import.meta.url)('graphql')

export const typeDefs = /* GraphQL */ `
  scalar DateTime
  scalar JSON

  enum ExecutionStatus { PENDING RUNNING PAUSED COMPLETED FAILED CANCELLED }

  type Workflow { id: ID! name: String! }

  type ExecutionEvent {
    cursor: String!
    type: String!
    status: ExecutionStatus!
    version: Int!
    message: String!
    timestamp: DateTime!
    execution: Execution!
  }

  type ExecutionEventConnection { nodes: [ExecutionEvent!]! }

  type Execution {
    id: ID!
    status: ExecutionStatus!
    version: Int!
    input: JSON
    output: JSON
    startedBy: String!
    temporalWorkflowId: String!
    temporalRunId: String
    createdAt: DateTime!
    startedAt: DateTime
    completedAt: DateTime
    updatedAt: DateTime!
    workflow: Workflow!
    history(first: Int = 10): ExecutionEventConnection!
  }

  type PageInfo { hasNextPage: Boolean! endCursor: String }

  type ExecutionConnection { nodes: [Execution!]! pageInfo: PageInfo! totalCount: Int! }

  type StatusCount { status: ExecutionStatus! count: Int! }

  type ExecutionStats { total: Int! byStatus: [StatusCount!]! }

  input StartExecutionInput { workflowId: ID! input: JSON }

  type Query {
    execution(id: ID!): Execution
    executions(first: Int = 10, after: String): ExecutionConnection!
    executionStats: ExecutionStats!
  }

  type Mutation { startExecution(input: StartExecutionInput!): Execution! }

  type Subscription { executionFeed: ExecutionEvent! }
`

export const DateTime = new GraphQLScalarType({
  name: 'DateTime',
  serialize: (value) => (value instanceof Date ? value.toISOString() : value)
})

export const JSONValue = new GraphQLScalarType({ name: 'JSON', serialize: (value) => value })
