// The same service on Node: mercurius with graphql-jit, pg, graphql-ws and ioredis.
import { randomUUID } from 'node:crypto'
import { Client, Connection } from '@temporalio/client'
import { createVerifier } from 'fast-jwt'
import Fastify from 'fastify'
import { compileQuery } from 'graphql-jit'
import { CloseCode } from 'graphql-ws'
import { useServer } from 'graphql-ws/use/ws'
import mercurius from 'mercurius'
import { WebSocketServer } from 'ws'
import * as channels from './channels.js'
import { DateTime, JSONValue, parse, typeDefs, validate } from './schema.js'
import * as store from './store.js'

const { DATABASE_URL, JWT_SECRET, PORT, REDIS_PREFIX, REDIS_URL, TEMPORAL_ADDRESS } = process.env
const MAX_PAGE = 100

const db = store.open(DATABASE_URL)
const bus = channels.open(REDIS_URL)
const temporal = TEMPORAL_ADDRESS
  ? new Client({ connection: await Connection.connect({ address: TEMPORAL_ADDRESS }) })
  : null
const verify = createVerifier({ key: JWT_SECRET, algorithms: ['HS256'], requiredClaims: ['exp', 'sub'] })

function authenticated (header) {
  try {
    return verify((header ?? '').replace(/^Bearer /, '')).sub
  } catch {
    throw new mercurius.ErrorWithProps('The token is not valid', { code: 'UNAUTHENTICATED' }, 401)
  }
}

const encode = (place) => Buffer.from(place).toString('base64url')
const decode = (cursor) => Buffer.from(cursor, 'base64url').toString().split('|')

const resolvers = {
  DateTime,
  JSON: JSONValue,
  Query: {
    execution: (_, { id }, { owner }) => db.one(owner, id),
    executions: async (_, { first, after }, { owner }) => {
      if (first < 1 || first > MAX_PAGE) throw new Error(`first must be 1 to ${MAX_PAGE}`)
      const rows = await db.page(owner, first + 1, after ? decode(after) : null)
      return { nodes: rows.slice(0, first), more: rows.length > first }
    },
    executionStats: async (_, __, { owner }) => {
      const byStatus = await db.stats(owner)
      return { byStatus, total: byStatus.reduce((sum, { count }) => sum + count, 0) }
    }
  },
  ExecutionConnection: {
    pageInfo: ({ nodes, more }) => ({
      hasNextPage: more,
      endCursor: nodes.length > 0 ? encode(nodes[nodes.length - 1].place) : null
    }),
    totalCount: (_, __, { owner }) => db.total(owner)
  },
  Mutation: {
    startExecution: async (_, { input: { workflowId, input } }, { owner }) => {
      const workflow = (await db.workflows(owner, [workflowId])).get(workflowId)
      if (!workflow) throw new Error('There is no such workflow')
      const id = randomUUID()
      const temporalId = `node-${id}`
      await db.insert(id, owner, workflowId, input, temporalId)
      const handle = await temporal.workflow.start(workflow.workflowType, {
        taskQueue: workflow.taskQueue,
        workflowId: temporalId,
        args: input === undefined || input === null ? [] : [input]
      })
      const execution = await db.started(id, handle.firstExecutionRunId)
      await bus.publish(`${REDIS_PREFIX}:feed:${owner}`, { event: {}, execution })
      return execution
    }
  }
}

const loaders = {
  Execution: {
    workflow: async (queries, { owner }) => {
      const found = await db.workflows(owner, [...new Set(queries.map(({ obj }) => obj.workflowId))])
      return queries.map(({ obj }) => found.get(obj.workflowId))
    },
    history: async (queries, { owner }) => {
      const first = Math.max(...queries.map(({ params }) => params.first))
      const found = new Map(queries.map(({ obj }) => [obj.id, []]))
      for (const event of await db.histories(owner, [...found.keys()], first)) {
        found.get(event.executionId).push(event)
      }
      return queries.map(({ obj, params }) => ({ nodes: found.get(obj.id).slice(0, params.first) }))
    }
  }
}

const app = Fastify({ logger: { level: 'warn' } })
app.get('/health', async () => ({ status: 'ok' }))
app.register(mercurius, {
  schema: typeDefs,
  resolvers,
  loaders,
  jit: 1,
  graphiql: false,
  queryDepth: 10,
  context: (request) => ({ owner: authenticated(request.headers.authorization) })
})
await app.ready()

const { schema } = app.graphql
// mercurius knows subscriptions only where it serves them itself.
schema.getSubscriptionType().getFields().executionFeed.subscribe = (_, __, { owner }) =>
  bus.subscribe(`${REDIS_PREFIX}:feed:${owner}`)
const compiled = new Map()

// The operation, checked and compiled once; a list of errors where it cannot be.
function operation (query, operationName) {
  const known = compiled.get(query)
  if (known) return known
  const document = parse(query)
  const errors = validate(schema, document)
  if (errors.length > 0) return errors
  const made = { document, compiled: compileQuery(schema, document, operationName) }
  compiled.set(query, made)
  return made
}

useServer({
  onConnect: (ctx) => {
    try {
      ctx.extra.owner = authenticated(ctx.connectionParams?.Authorization)
      return true
    } catch {
      return ctx.extra.socket.close(CloseCode.Forbidden, 'Forbidden')
    }
  },
  onSubscribe: (ctx, _, { query, operationName, variables }) => {
    const found = operation(query, operationName)
    if (Array.isArray(found)) return found
    return {
      schema,
      document: found.document,
      operationName,
      variableValues: variables,
      contextValue: { owner: ctx.extra.owner, compiled: found.compiled }
    }
  },
  execute: ({ contextValue, variableValues }) => contextValue.compiled.query({}, contextValue, variableValues),
  subscribe: ({ contextValue, variableValues }) =>
    contextValue.compiled.subscribe({}, contextValue, variableValues)
}, new WebSocketServer({ server: app.server, path: '/graphql', perMessageDeflate: false, maxPayload: 1_048_576 }))

await app.listen({ port: Number(PORT), host: '127.0.0.1' })
