// One server that the gateway has started, which it speaks to by its standard input and output.
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { ErrorCode, ResultSchema } from '@modelcontextprotocol/sdk/types.js'
import { asUser } from './install.mjs'
import { byTheBook } from './tool.mjs'

const mostRestarts = 5 // one after the other, each of a server that did not last:
const lasting = 60_000 // ms after which a server that ends is one that worked
const startTime = 50_000 // ms for a server to answer its first questions
const forever = 0x7fffffff // ms; calls end by their client's word, or with the server

/** What a server may have, by the capability that says so: the method that lists it. */
const lists = { tools: ['tools'], prompts: ['prompts'], resources: ['resources', 'resourceTemplates'] }
const method = {
  tools: 'tools/list', prompts: 'prompts/list', resources: 'resources/list', resourceTemplates: 'resources/templates/list',
}

export class Upstream {
  /** What the server has, by kind, as it lists it. */
  has = { tools: [], prompts: [], resources: [], resourceTemplates: [] }
  #launch
  #changed
  #client
  #said = '' // the last that it wrote to standard error
  #restarts = 0
  #closed = false

  /**
   * @param {string} name
   * @param {{command: string, args: string[], env: Record<string, string>, cwd: string}} launch
   * @param {() => void} changed is called when `has` is another
   */
  constructor(name, launch, changed) {
    this.name = name
    this.#launch = launch
    this.#changed = changed
  }

  /** Starts the server and asks what it has. */
  async start() {
    const [command, ...args] = asUser(this.#launch.command, ...this.#launch.args)
    const transport = new StdioClientTransport({ ...this.#launch, command, args, stderr: 'pipe' })
    transport.stderr.on('data', (data) => {
      process.stderr.write(data)
      this.#said = (this.#said + data).slice(-2000)
    })
    const client = new Client({ name: 'shoal-mcp-gateway', version: '1' })
    client.fallbackNotificationHandler = async ({ method }) => {
      if (/\/list_changed$/.test(method)) await this.#ask(client)
    }
    client.onerror = (error) => console.error(`${this.name}: ${error.message}`)
    const began = Date.now()
    try {
      await client.connect(transport, { timeout: startTime })
      await this.#ask(client)
    } catch (error) {
      await client.close()
      const told = `MCP server '${this.name}' did not start: ${error.message}\n${this.#said.trim()}`
      throw new Error(told.trim(), { cause: error })
    }
    this.#client = client
    client.onclose = () => this.#ended(Date.now() - began)
  }

  /** Makes a request to the server. */
  async request(request, options = {}) {
    if (!this.#client) throw new Error(`MCP server '${this.name}' is not running`)
    return this.#client.request(request, ResultSchema, { timeout: forever, ...options })
  }

  async close() {
    this.#closed = true
    await this.#client?.close()
  }

  async #ask(client) {
    const has = { tools: [], prompts: [], resources: [], resourceTemplates: [] }
    for (const [capability, kinds] of Object.entries(lists)) {
      if (!client.getServerCapabilities()?.[capability]) continue
      for (const kind of kinds) has[kind] = await all(client, kind)
    }
    has.tools = has.tools.map(byTheBook)
    this.has = has
    this.#changed()
  }

  /** The server has ended by itself: it is started again, unless it keeps ending. */
  async #ended(lasted) {
    this.#client = undefined
    if (this.#closed) return
    if (lasted >= lasting) this.#restarts = 0
    while (!this.#closed && !this.#client) {
      if (this.#restarts === mostRestarts) {
        console.error(`${this.name}: ended ${mostRestarts + 1} times, and stays so`)
        return
      }
      const wait = 200 * 2 ** this.#restarts++
      console.error(`${this.name}: has ended; starting it again in ${wait} ms`)
      await new Promise((resolve) => setTimeout(resolve, wait))
      await this.start().catch((error) => console.error(error.message))
    }
    if (this.#closed) await this.#client?.close()
  }
}

/** All pages of a list. Servers need not have templates of their resources, and some say that they have what they do not list. */
async function all(client, kind) {
  const items = []
  let cursor
  do {
    const request = { method: method[kind], params: cursor ? { cursor } : {} }
    const page = await client.request(request, ResultSchema, { timeout: startTime }).catch((error) => {
      if (error.code === ErrorCode.MethodNotFound) return { [kind]: [] }
      throw error
    })
    items.push(...page[kind])
    cursor = page.nextCursor
  } while (cursor)
  return items
}
