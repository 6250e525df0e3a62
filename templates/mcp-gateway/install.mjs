// Installs servers, as the user whose processes they will be. A server is there once its
// mark is: an installation that was cut off is done again from the beginning.
import { spawn } from 'node:child_process'
import { chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { configure, find, Refused, root } from './catalogue.mjs'

const who = account('user') // whom servers run as; root's, which has the gateway's token, would be too much

function account(name) {
  const line = readFileSync('/etc/passwd', 'utf8').split('\n').find((l) => l.startsWith(`${name}:`))
  if (!line) return { name: 'root', uid: 0, gid: 0, home: '/root' }
  const [, , uid, gid, , home] = line.split(':')
  return { name, uid: Number(uid), gid: Number(gid), home }
}

/** A command line that runs another as the servers' user. */
export const asUser = (command, ...args) =>
  ['setpriv', '--reuid', String(who.uid), '--regid', String(who.gid), '--init-groups', '--', command, ...args]

/** The environment of what the servers' user runs: the sandbox's, without the gateway's token. */
export function environment(more = {}) {
  const { GATEWAY_ACCESS_TOKEN: _, ...env } = process.env
  return { ...env, HOME: who.home, USER: who.name, LOGNAME: who.name, ...more }
}

/** `mcp-gateway pull`: installs servers by their names. All names are looked at first. */
export async function pull(names) {
  const servers = names.map(find)
  for (const server of servers) {
    await install(server)
    console.log(`installed ${server.name}`)
  }
}

/**
 * Installs a server unless it is there, and returns its launch: command, arguments,
 * environment and working directory.
 * @param {ReturnType<typeof find>} server
 * @param {ReturnType<typeof configure>} [settings]
 * @param {AbortSignal} [signal] ends the installation
 */
export async function install(server, settings, signal) {
  const at = server.directory, mark = `${at}/.installed`
  const what = server.npm ?? fromPyPI(server)?.join(' ') ?? [server.github, settings?.installCmd].join('\n')
  if (!existsSync(mark) || !readFileSync(mark, 'utf8').startsWith(what)) {
    rmSync(at, { recursive: true, force: true })
    makeOwned(at)
    if (server.npm) await installFromNpm(server, at, signal)
    else if (server.pypi) await installFromPyPI(server, at, signal)
    else await installFromGitHub(server, at, settings?.installCmd, signal)
    writeFileSync(mark, what)
  }
  return settings && { ...launch(server, settings), cwd: server.github ? at : who.home }
}

function makeOwned(directory) {
  if (existsSync(directory)) return
  if (directory !== root) makeOwned(dirname(directory))
  mkdirSync(directory)
  chownSync(directory, who.uid, who.gid)
}

const installFromNpm = (server, at, signal) => run(server, at, signal, 'npm', 'install',
  '--no-fund', '--no-audit', '--no-update-notifier', '--loglevel=error', '--prefix', at, server.npm)

/** What pip is asked for: the package and, where it would get a library that it cannot do with, one that it can. */
const fromPyPI = ({ pypi, beside = [] }) => pypi && [pypi, ...beside]

async function installFromPyPI(server, at, signal) {
  await run(server, at, signal, 'python3', '-m', 'venv', '--without-pip', at)
  await run(server, at, signal, 'pip', '--python', `${at}/bin/python`, 'install',
    '-q', '--no-cache-dir', '--disable-pip-version-check', ...fromPyPI(server))
}

async function installFromGitHub(server, at, installCmd, signal) {
  await run(server, at, signal, 'git', 'clone', '-q', '--depth', '1', server.github, at)
  if (installCmd) await run(server, at, signal, 'bash', '-c', installCmd)
}

function launch(server, settings) {
  const env = environment(settings.env)
  if (server.github) return { command: 'bash', args: ['-c', settings.runCmd], env }
  if (server.pypi) {
    const program = server.program ?? server.pypi.split('==')[0]
    return { command: `${server.directory}/bin/${program}`, args: settings.args, env }
  }
  const name = server.npm.slice(0, server.npm.lastIndexOf('@')), at = `${server.directory}/node_modules/${name}`
  const { bin } = JSON.parse(readFileSync(`${at}/package.json`, 'utf8'))
  const program = typeof bin === 'string' ? bin : bin?.[server.program] ?? Object.values(bin ?? {})[0]
  if (!program) throw new Refused(`MCP server '${server.name}': the package ${server.npm} has no program`)
  return { command: process.execPath, args: [`${at}/${program}`, ...settings.args], env }
}

/** Has packages that can drive a browser not fetch one of hundreds of MB; they work without. */
const noBrowsers = { PUPPETEER_SKIP_DOWNLOAD: 'true', PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD: '1' }

/** Runs a step of an installation to its end. Its last output is in the error. */
function run(server, cwd, signal, ...line) {
  const [command, ...args] = asUser(...line)
  return new Promise((resolve, reject) => {
    const env = environment({ GIT_TERMINAL_PROMPT: '0', ...(server.npm && noBrowsers) })
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], signal, killSignal: 'SIGKILL' })
    let said = ''
    const hear = (text) => { said = (said + text).slice(-2000) }
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', hear)
    child.on('error', (error) => reject(signal?.aborted ? new Refused(
      `MCP server '${server.name}' was not installed in time. Install it ahead, in a template of your own: ` +
      `Template().fromTemplate('mcp-gateway').addMcpServer('${server.name}')`) : error))
    child.on('close', (status) => status === 0 ? resolve() : reject(new Refused(
      `MCP server '${server.name}' could not be installed; '${line[0]} ${line[1]}' ended with ${status}:\n${said.trim()}`)))
  })
}
