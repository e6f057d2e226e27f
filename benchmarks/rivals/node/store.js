// The statements, each prepared once for every connection.
import pg from 'pg'

const COLUMNS = `id, workflow_id AS "workflowId", status, version, input, output, started_by AS "startedBy",
  temporal_workflow_id AS "temporalWorkflowId", temporal_run_id AS "temporalRunId", created_at AS "createdAt",
  started_at AS "startedAt", completed_at AS "completedAt", updated_at AS "updatedAt",
  created_at::text || '|' || id AS place`

const STATEMENTS = {
  firstPage: `SELECT ${COLUMNS} FROM execution WHERE owner_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2`,
  nextPage: `SELECT ${COLUMNS} FROM execution WHERE owner_id = $1 AND (created_at, id) < ($3, $4)
    ORDER BY created_at DESC, id DESC LIMIT $2`,
  one: `SELECT ${COLUMNS} FROM execution WHERE id = $1 AND owner_id = $2`,
  total: 'SELECT count(*)::int AS count FROM execution WHERE owner_id = $1',
  stats: 'SELECT status, count(*)::int AS count FROM execution WHERE owner_id = $1 GROUP BY status',
  workflows: 'SELECT id, name, workflow_type AS "workflowType", task_queue AS "taskQueue" ' +
    'FROM workflow WHERE owner_id = $1 AND id = ANY ($2::uuid[])',
  histories: `SELECT execution_id AS "executionId", position::text AS cursor, type, status, version, message,
    timestamp FROM execution_event WHERE owner_id = $1 AND execution_id = ANY ($2::uuid[]) AND version <= $3
    ORDER BY execution_id, version`,
  insert: `INSERT INTO execution (id, owner_id, workflow_id, status, version, input, started_by,
    temporal_workflow_id, next_history_event, start_unsettled, created_at, updated_at)
    VALUES ($1, $2, $3, 'PENDING', 1, $4, $2, $5, 1, false, now(), now())`,
  started: `UPDATE execution SET status = 'RUNNING', version = 2, temporal_run_id = $2, started_at = now(),
    updated_at = now() WHERE id = $1 RETURNING ${COLUMNS}`
}

export function open (connectionString) {
  const pool = new pg.Pool({ connectionString, max: 20 })
  const rows = async (name, values) => (await pool.query({ name, text: STATEMENTS[name], values })).rows
  return {
    page: (owner, first, after) => after
      ? rows('nextPage', [owner, first, ...after])
      : rows('firstPage', [owner, first]),
    one: async (owner, id) => (await rows('one', [id, owner]))[0],
    total: async (owner) => (await rows('total', [owner]))[0].count,
    stats: (owner) => rows('stats', [owner]),
    workflows: async (owner, ids) => byKey(await rows('workflows', [owner, ids]), 'id'),
    histories: (owner, ids, first) => rows('histories', [owner, ids, first]),
    insert: (id, owner, workflowId, input, temporalId) =>
      rows('insert', [id, owner, workflowId, JSON.stringify(input), temporalId]),
    started: async (id, runId) => (await rows('started', [id, runId]))[0]
  }
}

function byKey (rows, key) {
  return new Map(rows.map((row) => [row[key], row]))
}
