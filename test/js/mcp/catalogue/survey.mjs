// Starts every server of the gateway's catalogue in a sandbox, asks each for its tools by the
// official client, and renews the table of docs/mcp.md. It fails if one does not start. Names,
// separated by commas, try some and renew their rows. `make test-mcp` runs it.
import { readFileSync, writeFileSync } from 'node:fs'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { Sandbox } from 'e2b'
import { kubeconfig, settingsOf } from './settings.mjs'

const root = new URL('../../../../', import.meta.url)
const document = new URL('docs/mcp.md', root)
const { servers } = JSON.parse(readFileSync(new URL('templates/mcp-gateway/catalogue.json', root)))

const perSandbox = 4 // servers that are tried one after the other in one sandbox
const together = 2 // sandboxes

/** Installs and starts one server, and lists its tools. */
async function attempt(sandbox, name) {
  const run = (command) => sandbox.commands.run(command, { user: 'root', timeoutMs: 600_000, envs: { GATEWAY_ACCESS_TOKEN: 'known' } })
  const began = Date.now()
  await run(`mcp-gateway pull ${name}`)
  const installed = Date.now()
  await knows(sandbox, name)
  const checked = Date.now()
  const config = JSON.stringify({ [name]: settingsOf(name, servers[name]) }).replaceAll("'", String.raw`'\''`)
  await run(`mcp-gateway --timeout 120 --config '${config}'`)
  const started = Date.now()
  const client = new Client({ name: 'catalogue', version: '1' })
  const headers = { Authorization: 'Bearer known', 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '50005' }
  await client.connect(new StreamableHTTPClientTransport(new URL(`${process.env.E2B_SANDBOX_URL}/mcp`), { requestInit: { headers } }))
  try {
    const { tools } = await client.listTools()
    if (tools.length === 0) throw new Error('it has no tools')
    return { tools: tools.length, install: (installed - began) / 1000, start: (started - checked) / 1000 }
  } finally {
    await client.close()
  }
}

/** Fails if a variable of a server's settings occurs nowhere in its package: the setting would do nothing. */
async function knows(sandbox, name) {
  const variables = [...Object.keys(servers[name].env ?? {}), ...Object.keys(servers[name].constants ?? {})]
  const command = `cd /var/lib/mcp-gateway/${name}; for v in ${variables.join(' ')}; do grep -rqwF $v . || echo $v; done`
  const { stdout } = await sandbox.commands.run(command, { user: 'root', timeoutMs: 300_000 })
  if (stdout.trim() !== '') throw new Error(`its package does not know ${stdout.trim().split('\n').join(', ')}`)
}

async function survey(names, results) {
  const sandbox = await Sandbox.create('mcp-gateway', { timeoutMs: 3_000_000 })
  try {
    await sandbox.files.write(kubeconfig.path, kubeconfig.text)
    for (const name of names) {
      const result = await attempt(sandbox, name).catch((error) => ({ failed: (error.stderr || error.message).trim() }))
      results.set(name, result)
      console.log(name, result.failed ? `${asksService(result) ? 'asks its service' : 'FAILS'}: ${result.failed}`
        : `${result.tools} tools, ${result.install.toFixed(0)} s to install, ${result.start.toFixed(0)} s to start`)
      renew(results) // so that it is there if the rest is not
    }
  } finally {
    await sandbox.kill()
  }
}

/** Whether a server started, and ended because it did not reach what it works for. */
const asksService = ({ failed }) => /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|Couldn't connect/.test(failed)

/** What a server needs of its user, as far as its settings say so. */
function needs({ env = {}, args = [] }) {
  const keys = [...Object.values(env), ...args.flatMap((arg) => arg.setting ?? arg.each ?? [])]
  return keys.filter((key) => !key.endsWith('?')).map((key) => `\`${key}\``).join(', ') || '–'
}

function row(name, result) {
  const { npm, pypi } = servers[name]
  const what = !result.failed ? result.tools : asksService(result) ? 'asks its service at its start' : '**fails**'
  return `| \`${name}\` | ${npm ? 'npm' : 'PyPI'} \`${npm ?? pypi}\` | ${needs(servers[name])} | ${what} |`
}

/** Puts rows in the place of those that the document has; those of servers that were not tried stay. */
function renew(results) {
  const text = readFileSync(document, 'utf8')
  const [begin, end] = ['<!-- written by make test-mcp -->\n', '<!-- until here -->']
  const [from, to] = [text.indexOf(begin) + begin.length, text.indexOf(end)]
  if (from < begin.length || to < from) throw new Error('docs/mcp.md has no place for the table')
  const old = new Map(text.slice(from, to).split('\n').flatMap((line) => {
    const name = /^\| `([^`]+)`/.exec(line)?.[1]
    return name ? [[name, line]] : []
  }))
  const rows = Object.keys(servers).flatMap((name) => {
    const result = results.get(name)
    return result ? [row(name, result)] : old.get(name) ?? []
  })
  const head = '| Server | Package | Settings that it needs | Tools |\n|---|---|---|---|\n'
  writeFileSync(document, text.slice(0, from) + head + rows.join('\n') + '\n' + text.slice(to))
}

const only = (process.argv[2] ?? '').split(',').filter(Boolean)
for (const name of only) if (!Object.hasOwn(servers, name)) throw new Error(`there is no server '${name}'`)
const names = only.length > 0 ? only : Object.keys(servers)
const batches = []
for (let at = 0; at < names.length; at += perSandbox) batches.push(names.slice(at, at + perSandbox))
const results = new Map()
await Promise.all(Array.from({ length: together }, async () => {
  for (let batch = batches.shift(); batch; batch = batches.shift()) await survey(batch, results)
}))
const failed = [...results].filter(([, result]) => result.failed && !asksService(result)).map(([name]) => name)
if (failed.length > 0) {
  console.error(`not as they should be: ${failed.join(', ')}`)
  process.exitCode = 1
}
