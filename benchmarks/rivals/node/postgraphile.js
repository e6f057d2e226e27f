// PostGraphile 5 over the product's tables, one token for each user; the owner is a condition of each query.
import { createServer } from 'node:http'
import { createVerifier } from 'fast-jwt'
import { grafserv } from 'postgraphile/grafserv/node'
import { postgraphile } from 'postgraphile'
import { makePgService } from 'postgraphile/adaptors/pg'
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber'

const { DATABASE_URL, JWT_SECRET, PORT } = process.env
const verify = createVerifier({ key: JWT_SECRET, algorithms: ['HS256'], requiredClaims: ['exp', 'sub'] })

const preset = {
  extends: [PostGraphileAmberPreset],
  pgServices: [makePgService({ connectionString: DATABASE_URL, schemas: ['public'], poolConfig: { max: 20 } })],
  grafast: { explain: false },
  grafserv: { graphqlPath: '/graphql', graphiql: false, watch: false, websockets: false }
}

const service = postgraphile(preset).createServ(grafserv)
const server = createServer()
await service.addTo(server)
const [answer] = server.listeners('request')

server.removeAllListeners('request')
server.on('request', (request, response) => {
  if (request.url === '/health') return response.end('{}')
  try {
    verify((request.headers.authorization ?? '').replace(/^Bearer /, ''))
  } catch {
    response.statusCode = 401
    return response.end()
  }
  return answer(request, response)
})
await service.ready()
server.listen(Number(PORT), '127.0.0.1')
