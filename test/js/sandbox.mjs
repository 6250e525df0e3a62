// What the tests share: a sandbox of their own that is gone afterwards.
import { after } from 'node:test'
import { Sandbox } from 'e2b'

const made = []
after(() => Promise.all(made.map((sandbox) => sandbox.kill())))

/** Creates a sandbox that is killed after the file's tests. */
export async function create(opts = {}) {
  const sandbox = await Sandbox.create({ timeoutMs: 120_000, ...opts })
  made.push(sandbox)
  return sandbox
}

/** Resolves when probe returns a truthy value, which it returns. */
export async function eventually(probe, what, timeoutMs = 10_000) {
  const end = Date.now() + timeoutMs
  for (;;) {
    const value = await probe()
    if (value) return value
    if (Date.now() > end) throw new Error(`did not happen in ${timeoutMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** A request to a port of the sandbox by host name, through the proxy. */
export function hostRequest(sandbox, port, path = '/', init = {}) {
  const proxy = new URL(process.env.E2B_SANDBOX_URL)
  return { hostname: proxy.hostname, port: proxy.port, path, headers: { Host: `${port}-${sandbox.sandboxId}.shoal.test`, ...init.headers }, method: init.method ?? 'GET' }
}
