// Starts the gateway's process in the background, and waits for it.
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { configure, find, Refused } from './catalogue.mjs'
import { install } from './install.mjs'

/** Where SDKs that did not start the gateway read its token, as root. */
export const tokenFile = '/etc/mcp-gateway/.token'
const pidFile = '/run/mcp-gateway.pid'
const logFile = '/var/log/mcp-gateway.log'
const program = fileURLToPath(new URL('serve.mjs', import.meta.url))

/**
 * Starts the servers that `config` names, in place of a gateway that runs already. Nothing is
 * installed or ended before all of it has been understood.
 * @param {string} config JSON
 * @param {AbortSignal} signal ends the attempt
 */
export async function start(config, signal) {
  const wanted = read(config)
  const failed = new AbortController() // ends the other installations
  const launches = Object.fromEntries(await Promise.all(wanted.map(async ({ server, settings }) =>
    [server.name, await install(server, settings, AbortSignal.any([signal, failed.signal]))],
  )).catch((error) => { failed.abort(); throw error }))
  await endEarlier()
  const token = process.env.GATEWAY_ACCESS_TOKEN || randomUUID()
  mkdirSync('/etc/mcp-gateway', { recursive: true, mode: 0o755 })
  rmSync(tokenFile, { force: true }) // so that the mode holds for a file that was there
  writeFileSync(tokenFile, token, { mode: 0o600 })
  try {
    await serve({ token, launches }, signal)
  } catch (error) {
    rmSync(tokenFile, { force: true })
    throw error
  }
}

function read(config) {
  let entries
  try {
    entries = Object.entries(JSON.parse(config))
  } catch {
    throw new Refused('--config is not a JSON object')
  }
  const wanted = [], problems = []
  for (const [name, given] of entries) {
    try {
      const server = find(name)
      wanted.push({ server, settings: configure(server, given) })
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      problems.push(error.message)
    }
  }
  if (problems.length > 0) throw new Refused(problems.join('\n'))
  return wanted
}

/** Ends a gateway that runs, as in a sandbox that was made of a snapshot of another. */
async function endEarlier() {
  const running = () => {
    try {
      return readFileSync(`/proc/${readFileSync(pidFile, 'utf8')}/cmdline`, 'utf8').includes(program)
    } catch {
      return false
    }
  }
  if (!running()) return
  const pid = Number(readFileSync(pidFile, 'utf8'))
  process.kill(pid, 'SIGTERM')
  for (let tries = 0; running(); tries++) {
    if (tries === 100) process.kill(pid, 'SIGKILL')
    await pause(50)
  }
}

/** Starts the process and waits for its word. What it needs goes by a pipe, not its arguments:
 * those could be read by every process of the sandbox. */
async function serve(work, signal) {
  const log = openSync(logFile, 'w', 0o600)
  const child = spawn(process.execPath, [program], { detached: true, stdio: ['ignore', log, log, 'ipc'], cwd: '/' })
  closeSync(log)
  const answer = await new Promise((resolve) => {
    child.once('message', resolve)
    const wrote = () => readFileSync(logFile, 'utf8').slice(-2000)
    child.once('exit', () => resolve({ failed: `the gateway has ended; the last of ${logFile}:\n${wrote()}` }))
    const late = () => resolve({ failed: 'not all servers answered in time' })
    signal.aborted ? late() : signal.addEventListener('abort', late, { once: true })
    child.send(work)
  })
  if (answer.failed) {
    child.kill('SIGKILL')
    throw new Refused(answer.failed)
  }
  writeFileSync(pidFile, String(child.pid))
  child.disconnect()
  child.unref()
}
