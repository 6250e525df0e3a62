// Shared by the tests: sandboxes that are killed afterwards, and requests by hand.
import { after } from 'node:test'
import http from 'node:http'
import { Sandbox } from 'e2b'

const made = []
after(() => Promise.all(made.map((sandbox) => sandbox.kill())))

/** Creates a sandbox that is killed after the file's tests. */
export async function create(opts = {}) {
  const sandbox = await Sandbox.create({ timeoutMs: 600_000, ...opts })
  made.push(sandbox)
  return sandbox
}

/** Resolves when probe returns a truthy value, which it returns. */
export async function eventually(probe, what, timeoutMs = 60_000) {
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

/** Makes such a request on a new connection. */
export function get(sandbox, port, path = '/', init = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request({ ...hostRequest(sandbox, port, path, init), agent: false }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (data) => { body += data }).on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }))
    })
    request.on('error', reject).end(init.body)
  })
}

/** An API request by hand, for what the SDK cannot do. */
export async function api(method, path, body) {
  const headers = { 'X-API-Key': process.env.E2B_API_KEY }
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  const response = await fetch(process.env.E2B_API_URL + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) }
}

/** A web server that counts its requests in memory. A request to /slow is answered after a minute. */
const counter = `
import http.server, itertools, time
numbers = itertools.count(1)
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        mine = next(numbers)
        if self.path == "/slow":
            open("/tmp/slow-began", "w").close()
            time.sleep(60)
        self.send_response(200); self.end_headers(); self.wfile.write(str(mine).encode())
    def log_message(self, *a): pass
class S(http.server.ThreadingHTTPServer):
    request_queue_size = 256 # a connection beyond it is tried again after 1, 3, 7, 15 s
S(("0.0.0.0", 8000), H).serve_forever()
`

/**
 * Starts that server on port 8000 and makes its first request from inside. No stream of
 * the SDK stays attached to it: if one were cut off, the SDK would look for the sandbox
 * and so wake it.
 */
export async function serveCounter(sandbox) {
  await sandbox.files.write('/tmp/counter.py', counter)
  await sandbox.commands.run('setsid python3 -u /tmp/counter.py > /tmp/counter.log 2>&1 &')
  await eventually(async () => (await sandbox.commands.run('curl -s localhost:8000 || true')).stdout === '1', 'the counter serves')
}

/** Makes the sandbox hold so many MB of memory that a pause takes a moment. */
export async function fill(sandbox, megabytes) {
  const hold = `import os, time; x = os.urandom(16 << 20) * ${megabytes / 16}; open("/tmp/filled", "w"); time.sleep(1e6)`
  await sandbox.commands.run(`setsid python3 -c '${hold}' > /tmp/fill.log 2>&1 &`)
  await eventually(() => sandbox.files.exists('/tmp/filled'), 'its memory is full')
}

/** An ID that changes with every boot of a guest. */
export const bootID = async (sandbox) => (await sandbox.commands.run('cat /proc/sys/kernel/random/boot_id')).stdout

/** The state of a sandbox according to the API. */
export const stateOf = async (sandbox) => (await sandbox.getInfo()).state
