// What is known of the servers that E2B's SDKs name: which package of npm or PyPI each is, and
// how the settings in `mcp` become its arguments and its environment.
import { readFileSync } from 'node:fs'

/** An error whose message is for the user as it stands. */
export class Refused extends Error {}

const { servers, absent, reasons } = JSON.parse(readFileSync(new URL('catalogue.json', import.meta.url)))

/** Where servers are installed, each in a directory of its own. */
export const root = '/var/lib/mcp-gateway'

/**
 * Finds a server. What it returns says how to get it (`npm`, `pypi` or `github`), where, and
 * how it is started. Throws Refused with the reason if it cannot run here.
 * @param {string} name
 */
export function find(name) {
  if (name.startsWith('github/')) return fromGitHub(name)
  const server = Object.hasOwn(servers, name) ? servers[name] : undefined
  if (server) return { name, directory: `${root}/${name}`, ...server }
  const own = "Name another server, or run one of its repository's by a 'github/OWNER/REPOSITORY' entry with runCmd."
  if (Object.hasOwn(reasons, name)) throw new Refused(`MCP server '${name}' cannot run here: ${reasons[name]}`)
  if (absent.includes(name)) {
    throw new Refused(`MCP server '${name}' cannot run here: no package of it on npm or PyPI is known to Shoal, ` +
      `and images of Docker's catalogue do not run in sandboxes. ${own}`)
  }
  throw new Refused(`There is no MCP server '${name}'. ${own} Servers that run here: ${Object.keys(servers).join(', ')}.`)
}

function fromGitHub(name) {
  const [, owner, repository, ...rest] = name.split('/')
  const plain = /^(?!\.+$)[A-Za-z0-9._-]+$/
  if (rest.length > 0 || !plain.test(owner) || !plain.test(repository ?? '')) {
    throw new Refused(`MCP server '${name}': the name must be github/OWNER/REPOSITORY`)
  }
  return { name, directory: `${root}/${name}`, github: `https://github.com/${owner}/${repository}.git` }
}

/**
 * The arguments and the environment of a server with a user's settings. A setting that a
 * template names with a question mark may be left out, others may not.
 * @param {ReturnType<typeof find>} server
 * @param {Record<string, unknown>} settings
 */
export function configure(server, settings) {
  if (typeof settings !== 'object' || settings === null || Array.isArray(settings)) {
    throw new Refused(`MCP server '${server.name}': its settings must be an object`)
  }
  if (server.github) return configureCommand(server, settings)
  const missing = []
  const value = (key) => {
    const plain = key.replace(/\?$/, '')
    const given = settings[plain] ?? ''
    if (given === '' && plain === key) missing.push(key)
    return given
  }
  const args = (server.args ?? []).flatMap((arg) => {
    if (typeof arg === 'string') return arg
    const given = [value(arg.each ?? arg.setting)].flat().filter((v) => v !== '').map(String)
    return arg.flag && given.length > 0 ? [arg.flag, ...given] : given
  })
  const env = { ...server.constants }
  for (const [variable, key] of Object.entries(server.env ?? {})) {
    const given = value(key)
    if (given !== '') env[variable] = String(given)
  }
  if (missing.length > 0) {
    throw new Refused(`MCP server '${server.name}' needs ${missing.map((key) => `'${key}'`).join(', ')} in its settings`)
  }
  return { args, env }
}

function configureCommand(server, settings) {
  const { runCmd, installCmd, envs = {} } = settings
  if (typeof runCmd !== 'string' || runCmd === '') {
    throw new Refused(`MCP server '${server.name}' needs 'runCmd', a command that starts a server ` +
      'on standard input and output')
  }
  if (installCmd !== undefined && typeof installCmd !== 'string') {
    throw new Refused(`MCP server '${server.name}': 'installCmd' must be a string`)
  }
  if (typeof envs !== 'object' || envs === null || Object.values(envs).some((v) => typeof v !== 'string')) {
    throw new Refused(`MCP server '${server.name}': 'envs' must be an object of strings`)
  }
  return { runCmd, installCmd, env: envs }
}
