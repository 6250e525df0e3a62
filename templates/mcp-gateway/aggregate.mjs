// One MCP server that has what several have.
import { Server } from '@modelcontextprotocol/sdk/server/index.js'
import {
  CallToolRequestSchema, ErrorCode, GetPromptRequestSchema, ListPromptsRequestSchema, ListResourcesRequestSchema,
  ListResourceTemplatesRequestSchema, ListToolsRequestSchema, McpError, ReadResourceRequestSchema,
} from '@modelcontextprotocol/sdk/types.js'
import { named } from './names.mjs'

/** A server for one session of a client. */
export function aggregate(upstreams) {
  const some = (kind) => upstreams.some(({ has }) => has[kind].length > 0)
  const resources = some('resources') || some('resourceTemplates')
  const server = new Server({ name: 'shoal-mcp-gateway', version: '1' }, {
    capabilities: {
      tools: { listChanged: true },
      ...(some('prompts') && { prompts: {} }),
      ...(resources && { resources: {} }),
    },
  })
  const listed = (kind) => [...named(upstreams, kind)].map(([name, { item }]) => ({ ...item, name }))
  server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: listed('tools') }))
  server.setRequestHandler(CallToolRequestSchema, (request, extra) => forward(upstreams, 'tools', request, extra))
  if (some('prompts')) {
    server.setRequestHandler(ListPromptsRequestSchema, () => ({ prompts: listed('prompts') }))
    server.setRequestHandler(GetPromptRequestSchema, (request, extra) => forward(upstreams, 'prompts', request, extra))
  }
  if (resources) {
    const every = (kind) => ({ [kind]: upstreams.flatMap(({ has }) => has[kind]) })
    server.setRequestHandler(ListResourcesRequestSchema, () => every('resources'))
    server.setRequestHandler(ListResourceTemplatesRequestSchema, () => every('resourceTemplates'))
    server.setRequestHandler(ReadResourceRequestSchema, (request, extra) => readResource(upstreams, request, extra))
  }
  return server
}

function forward(upstreams, kind, request, extra) {
  const found = named(upstreams, kind).get(request.params.name)
  if (!found) throw new McpError(ErrorCode.InvalidParams, `There is no ${kind.slice(0, -1)} '${request.params.name}'`)
  return ask(found.upstream, { ...request, params: { ...request.params, name: found.item.name } }, extra)
}

/** Asks who lists the resource; otherwise, as templates may match it, who has templates. */
async function readResource(upstreams, request, extra) {
  const owner = upstreams.find(({ has }) => has.resources.some(({ uri }) => uri === request.params.uri))
  if (owner) return ask(owner, request, extra)
  let failure = new McpError(ErrorCode.InvalidParams, `There is no resource '${request.params.uri}'`)
  for (const upstream of upstreams) {
    if (upstream.has.resourceTemplates.length === 0) continue
    try {
      return await ask(upstream, request, extra)
    } catch (error) {
      failure = error
    }
  }
  throw failure
}

/** Passes a request on; its progress goes back to the client, whose cancellation ends it. */
function ask(upstream, { method, params }, extra) {
  const { progressToken, ...meta } = params._meta ?? {}
  const tell = (progress) => {
    const params = { ...progress, progressToken }
    extra.sendNotification({ method: 'notifications/progress', params }).catch(() => {}) // the client has gone
  }
  const onprogress = progressToken === undefined ? undefined : tell
  return upstream.request({ method, params: { ...params, _meta: meta } }, { signal: extra.signal, onprogress })
}
