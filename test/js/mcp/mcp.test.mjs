// MCP by the SDK and the official client, through the proxy. The template mcp-gateway must be
// built.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { Agent, fetch as undici } from 'undici'
import { Sandbox, Template } from 'e2b'
import { create, eventually } from '../sandbox.mjs'

const clients = []
after(() => Promise.all(clients.map((client) => client.close())))

/** Connects the official client, with headers that name the sandbox. */
async function connect(sandbox, token) {
  token ??= await sandbox.getMcpToken()
  const headers = { Authorization: `Bearer ${token}`, 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '50005' }
  return connected(new URL(`${process.env.E2B_SANDBOX_URL}/mcp`), { requestInit: { headers } })
}

async function connected(url, options) {
  const client = new Client({ name: 'test', version: '1' })
  await client.connect(new StreamableHTTPClientTransport(url, options))
  clients.push(client)
  return client
}

const names = async (client) => (await client.listTools()).tools.map(({ name }) => name)
const text = (result) => {
  assert.ok(!result.isError, JSON.stringify(result))
  return result.content[0].text
}
const root = (sandbox, command) => sandbox.commands.run(command, { user: 'root', timeoutMs: 300_000 })

/** How the SDK starts the gateway, but with more time, as servers are installed here. */
const gateway = (sandbox, config) =>
  root(sandbox, `GATEWAY_ACCESS_TOKEN=known mcp-gateway --timeout 280 --config '${JSON.stringify(config)}'`)

describe('a sandbox that was created with MCP servers', () => {
  let sandbox, client
  before(async () => {
    sandbox = await create({ mcp: { filesystem: { paths: ['/home/user'] }, memory: {}, time: {} } })
    client = await connect(sandbox)
  }, { timeout: 180_000 })

  test('has the tools of all of them', async () => {
    const tools = await names(client)
    for (const name of ['read_text_file', 'create_entities', 'get_current_time']) assert.ok(tools.includes(name), tools.join())
  })

  test('runs tools of servers from npm and PyPI', async () => {
    await sandbox.files.write('note.txt', 'written by the SDK')
    assert.equal(text(await client.callTool({ name: 'read_text_file', arguments: { path: '/home/user/note.txt' } })), 'written by the SDK')
    const time = JSON.parse(text(await client.callTool({ name: 'get_current_time', arguments: { timezone: 'Asia/Tokyo' } })))
    assert.equal(time.timezone, 'Asia/Tokyo')
    await assert.rejects(client.callTool({ name: 'nothing' }), /no tool 'nothing'/)
  })

  test('is reached at its URL', async () => {
    const url = new URL(sandbox.getMcpUrl())
    assert.equal(url.href, `https://${sandbox.getHost(50005)}/mcp`)
    url.protocol = 'http:' // nobody ends TLS here
    const proxy = new URL(process.env.E2B_SANDBOX_URL)
    const lookup = (name, options, found) => found(null, [{ address: proxy.hostname, family: 4 }])
    const dispatcher = new Agent({ connect: { lookup } })
    const byName = await connected(url, {
      fetch: (to, init) => undici(to, { ...init, dispatcher }),
      requestInit: { headers: { Authorization: `Bearer ${await sandbox.getMcpToken()}` } },
    })
    assert.deepEqual(await names(byName), await names(client))
  })

  test('gives its token to those who connect to it later, and to nobody else in it', async () => {
    const later = await Sandbox.connect(sandbox.sandboxId)
    assert.equal(await later.getMcpToken(), await sandbox.getMcpToken())
    assert.equal((await root(sandbox, 'stat -c "%a %U" /etc/mcp-gateway/.token')).stdout, '600 root\n')
    const found = await root(sandbox, `pgrep -u user -f server; grep -l GATEWAY_ACCESS_TOKEN $(pgrep -u user -f server | sed 's,.*,/proc/&/environ,') || true`)
    assert.match(found.stdout, /^\d+\n\d+\n\d+\n$/, 'three servers of the user run, none with the token')
  })

  test('asks for its token', async () => {
    for (const headers of [{}, { Authorization: 'Bearer wrong' }, { Authorization: `Basic ${await sandbox.getMcpToken()}` }]) {
      const answer = await fetch(`${process.env.E2B_SANDBOX_URL}/mcp`, {
        method: 'POST', body: '{}', headers: { ...headers, 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '50005' },
      })
      assert.equal(answer.status, 401)
      assert.equal(answer.headers.get('www-authenticate'), 'Bearer')
    }
    await assert.rejects(connect(sandbox, 'wrong'), /401|token/)
  })

  test('keeps sessions and what servers know through a pause', async () => {
    await client.callTool({ name: 'create_entities', arguments: { entities: [{ name: 'kept', entityType: 'thing', observations: ['before'] }] } })
    await sandbox.pause()
    await sandbox.connect()
    const graph = JSON.parse(text(await client.callTool({ name: 'read_graph', arguments: {} })))
    assert.deepEqual(graph.entities.map(({ name }) => name), ['kept'])
  })

  test('starts a server again that has ended', async () => {
    await root(sandbox, 'pkill -KILL -f mcp-server-time')
    await eventually(async () => {
      const result = await client.callTool({ name: 'get_current_time', arguments: { timezone: 'UTC' } }).catch(() => ({ isError: true }))
      return !result.isError
    }, 'the tool works again')
  })
})

describe('servers of a repository', () => {
  test('run by their command; names that clash have their servers in front', async () => {
    const sandbox = await create({ template: 'mcp-gateway' })
    // What would come from GitHub comes from the sandbox's own disk.
    await sandbox.commands.run(`mkdir -p git && cd git && git init -q own/server.git && cd own/server.git &&
      git -c user.name=n -c user.email=e commit -q --allow-empty -m first`)
    await root(sandbox, 'git config --system url.file:///home/user/git/.insteadOf https://github.com/')
    const runCmd = 'test "$KEY" = value && test -e installed && node /var/lib/mcp-gateway/memory/node_modules/@modelcontextprotocol/server-memory/dist/index.js'
    await gateway(sandbox, { memory: {}, 'github/own/server': { runCmd, installCmd: 'touch installed', envs: { KEY: 'value' } } })
    const client = await connect(sandbox, 'known')
    const tools = await names(client)
    assert.ok(tools.includes('memory_read_graph') && tools.includes('github_own_server_read_graph'), tools.join())
    assert.ok(!tools.includes('read_graph'))
    text(await client.callTool({ name: 'github_own_server_read_graph', arguments: {} }))
  }, { timeout: 300_000 })
})

test('servers are installed when they are asked for, and another gateway takes over', async () => {
  const sandbox = await create({ mcp: { memory: {} } })
  const old = await connect(sandbox)
  await gateway(sandbox, { sequentialthinking: {} })
  await assert.rejects(old.listTools(), 'the gateway before has ended, and its token')
  const client = await connect(sandbox, 'known')
  assert.deepEqual(await names(client), ['sequentialthinking'])
}, { timeout: 400_000 })

test('servers can be installed ahead, in a template', async () => {
  const template = Template().fromTemplate('mcp-gateway').addMcpServer('git')
  await Template.build(template, 'mcp-with-git', { cpuCount: 2, memoryMB: 1024 })
  const sandbox = await create({ template: 'mcp-with-git', mcp: { git: { paths: [] } } })
  await sandbox.commands.run('git init -q repository')
  const client = await connect(sandbox)
  assert.match(text(await client.callTool({ name: 'git_status', arguments: { repo_path: '/home/user/repository' } })), /No commits yet/)
}, { timeout: 600_000 })

describe('what cannot run', () => {
  for (const [name, mcp, message] of [
    ['no server', { 'no-such-server': {} }, /There is no MCP server 'no-such-server'.*Servers that run here: .*filesystem/s],
    ['a server without a package', { mavenTools: {} }, /'mavenTools' cannot run here: no package/],
    ['a server that needs a browser', { playwright: { data: '' } }, /'playwright' cannot run here: it drives a browser/],
    ['a server without its key', { memory: {}, brave: {} }, /'brave' needs 'apiKey'/],
    ['a server that does not start', { filesystem: { paths: ['/not/there'] } }, /'filesystem' did not start.*\/not\/there/s],
  ]) {
    test(`${name} is named, and no sandbox is left`, async () => {
      const metadata = { case: name }
      await assert.rejects(Sandbox.create({ mcp, metadata }), (error) => {
        assert.match(error.message, /^Failed to start MCP gateway: /)
        assert.match(error.message, message)
        return true
      })
      assert.deepEqual(await Sandbox.list({ query: { metadata } }).nextItems(), [])
    })
  }

  test('what is slow to install is named before the SDK gives up, with its remedy', async () => {
    const sandbox = await create({ template: 'mcp-gateway' })
    const late = await root(sandbox, `mcp-gateway --timeout 0.5 --config '{"wikipedia":{}}'`).catch((error) => error)
    assert.equal(late.exitCode, 1)
    assert.match(late.stderr, /'wikipedia' was not installed in time.*addMcpServer\('wikipedia'\)/s)
    assert.equal((await root(sandbox, 'pgrep -c pip || true')).stdout, '0\n')
  })
})
