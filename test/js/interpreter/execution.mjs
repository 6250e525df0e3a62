// Shared by the interpreter's suites.
import assert from 'node:assert/strict'
import { after } from 'node:test'
import { Sandbox } from '@e2b/code-interpreter'

const made = []
after(() => Promise.all(made.map((sandbox) => sandbox.kill())))

/** Creates a sandbox of the template code-interpreter-v1 that is killed after the file's tests. */
export async function create(opts = {}) {
  const sandbox = await Sandbox.create({ timeoutMs: 600_000, ...opts })
  made.push(sandbox)
  return sandbox
}

/** Runs code that must not fail, and returns its execution. */
export async function run(sandbox, code, opts) {
  const execution = await sandbox.runCode(code, opts)
  assert.equal(execution.error, undefined, `${code}: ${execution.error?.traceback || execution.error?.value}`)
  return execution
}

/** A request to the interpreter's own API, without the SDK. */
export function request(sandbox, path, init = {}) {
  const headers = { 'Content-Type': 'application/json', 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '49999' }
  return fetch(new URL(path, process.env.E2B_SANDBOX_URL), { ...init, headers: { ...headers, ...init.headers } })
}

/** How many Python kernels run in the sandbox. */
export async function kernels(sandbox) {
  return Number((await sandbox.commands.run('pgrep -fc [i]pykernel_launcher || true')).stdout)
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
