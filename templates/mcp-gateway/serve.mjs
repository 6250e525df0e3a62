// The gateway's process: the servers, and the HTTP address that clients reach them at.
// start.mjs starts it, sends what to do and waits for a word.
import { createHash, randomUUID, timingSafeEqual } from 'node:crypto'
import http from 'node:http'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { aggregate } from './aggregate.mjs'
import { Upstream } from './upstream.mjs'

const port = 50005 // the SDKs know it
const mostSessions = 100 // the one that was used longest ago goes for a new one

const digest = (text) => createHash('sha256').update(text).digest()

/** Serves MCP over HTTP at /mcp to those who have the token. */
class Gateway {
  #token
  #upstreams
  #sessions = new Map() // by their IDs, used longest ago first

  constructor(token, upstreams) {
    this.#token = digest(token)
    this.#upstreams = upstreams
  }

  async handle(request, response) {
    const path = request.url.split('?')[0]
    if (path !== '/mcp') return response.writeHead(404).end('MCP is served at /mcp\n')
    const [scheme, token = ''] = (request.headers.authorization ?? '').split(' ')
    if (!/^bearer$/i.test(scheme) || !timingSafeEqual(digest(token), this.#token)) {
      response.writeHead(401, { 'WWW-Authenticate': 'Bearer' })
      return response.end("The token of the sandbox's MCP gateway is missing or wrong\n")
    }
    const id = request.headers['mcp-session-id']
    if (id === undefined) return this.#begin(request, response)
    const session = this.#sessions.get(id)
    if (!session) { // a client begins a new session when it reads this
      const error = { jsonrpc: '2.0', error: { code: -32001, message: 'Session not found' }, id: null }
      return response.writeHead(404, { 'Content-Type': 'application/json' }).end(JSON.stringify(error))
    }
    this.#sessions.delete(id)
    this.#sessions.set(id, session)
    return session.transport.handleRequest(request, response)
  }

  /** Tells all clients that there are other tools. */
  changed() {
    for (const { server } of this.#sessions.values()) {
      server.sendToolListChanged().catch((error) => console.error(`a client was not told: ${error.message}`))
    }
  }

  async #begin(request, response) {
    const server = aggregate(this.#upstreams)
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => {
        this.#sessions.set(id, { server, transport })
        if (this.#sessions.size > mostSessions) this.#sessions.values().next().value.server.close()
      },
    })
    transport.onclose = () => this.#sessions.delete(transport.sessionId)
    await server.connect(transport)
    await transport.handleRequest(request, response)
    if (transport.sessionId === undefined) await server.close() // it was no request that begins one
  }
}

async function main({ token, launches }) {
  let gateway
  const upstreams = Object.entries(launches).map(([name, launch]) => new Upstream(name, launch, () => gateway?.changed()))
  const end = async () => {
    await Promise.allSettled(upstreams.map((upstream) => upstream.close()))
    process.exit()
  }
  process.on('SIGTERM', end).on('SIGINT', end)
  await Promise.all(upstreams.map((upstream) => upstream.start())).catch(async (error) => {
    await Promise.allSettled(upstreams.map((upstream) => upstream.close()))
    throw error
  })
  gateway = new Gateway(token, upstreams)
  const listener = http.createServer((request, response) => {
    gateway.handle(request, response).catch((error) => {
      console.error(error)
      if (!response.headersSent) response.writeHead(500)
      response.end()
    })
  })
  await new Promise((resolve, reject) => listener.once('error', reject).listen(port, '0.0.0.0', resolve))
}

process.once('message', (work) => main(work).then(
  () => process.send({ ready: true }),
  (error) => process.send({ failed: error.message }, () => process.exit(1)),
))
