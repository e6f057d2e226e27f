// Redis pub/sub over one connection: a message is parsed once, whoever listens.
import Redis from 'ioredis'

export function open (url) {
  const redis = new Redis(url)
  const publisher = new Redis(url)
  const listeners = new Map()

  redis.on('message', (channel, text) => {
    const { event, execution } = JSON.parse(text)
    const value = { executionFeed: received(event, execution) }
    for (const push of listeners.get(channel) ?? []) push(value)
  })

  async function join (channel, push) {
    const known = listeners.get(channel)
    if (known) return known.add(push)
    listeners.set(channel, new Set([push]))
    await redis.subscribe(channel)
  }

  function leave (channel, push) {
    const known = listeners.get(channel)
    known.delete(push)
    if (known.size > 0) return
    listeners.delete(channel)
    redis.unsubscribe(channel)
  }

  return {
    publish: (channel, value) => publisher.publish(channel, JSON.stringify(value)),
    subscribe: async (channel) => {
      const queue = new Queue((push) => leave(channel, push))
      await join(channel, queue.push)
      return queue
    }
  }
}

// Names as the schema has them; what comes from Postgres in a list has them from its statement.
function received (event, execution) {
  return {
    cursor: String(event.position),
    type: event.type,
    status: event.status,
    version: event.version,
    message: event.message,
    timestamp: event.timestamp,
    execution: { id: execution.id, status: execution.status, version: execution.version, updatedAt: execution.updated_at }
  }
}

// An async iterator that is filled from outside.
class Queue {
  constructor (onReturn) {
    this.values = []
    this.waiting = null
    this.done = false
    this.onReturn = onReturn
    this.push = (value) => {
      if (this.waiting === null) return this.values.push(value)
      const resolve = this.waiting
      this.waiting = null
      resolve({ value, done: false })
    }
  }

  next () {
    if (this.values.length > 0) return Promise.resolve({ value: this.values.shift(), done: false })
    if (this.done) return Promise.resolve({ value: undefined, done: true })
    return new Promise((resolve) => { this.waiting = resolve })
  }

  return () {
    if (!this.done) this.onReturn(this.push)
    this.done = true
    this.waiting?.({ value: undefined, done: true })
    return Promise.resolve({ value: undefined, done: true })
  }

  [Symbol.asyncIterator] () {
    return this
  }
}
