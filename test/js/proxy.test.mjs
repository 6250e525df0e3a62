import { before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import WebSocket from 'ws'
import { Sandbox } from 'e2b'
import { create, eventually, get, hostRequest, serveCounter } from './sandbox.mjs'

const browser = { 'User-Agent': 'Mozilla/5.0 Chrome/120', Accept: 'text/html' }

describe('traffic by host name', () => {
  let sandbox
  before(async () => {
    sandbox = await create()
    await sandbox.files.write('site/index.html', 'served from inside')
  })

  for (const [bind, port] of [['0.0.0.0', 8000], ['127.0.0.1', 8001], ['::', 8002], ['::1', 8003], ['localhost', 8004]]) {
    test(`a web server bound to ${bind}`, async () => {
      await sandbox.commands.run(`python3 -m http.server --bind ${bind} ${port} -d site`, { background: true, timeoutMs: 0 })
      const answer = await eventually(async () => {
        const r = await get(sandbox, port)
        return r.status === 200 && r
      }, 'the server answers')
      assert.equal(answer.body, 'served from inside')
    })
  }

  test('a closed port is named, in JSON and in HTML', async () => {
    const json = await get(sandbox, 9999)
    assert.equal(json.status, 502)
    const body = JSON.parse(json.body)
    assert.equal(body.code, 502)
    assert.equal(body.sandboxId, sandbox.sandboxId)
    assert.equal(body.message, 'The sandbox is running but port is not open')
    assert.equal(body.port, 9999)
    const html = await get(sandbox, 9999, '/', { headers: browser })
    assert.equal(html.status, 502)
    assert.match(html.headers['content-type'], /text\/html/)
    assert.match(html.body, /Closed Port/)
  })

  test('an unknown sandbox', async () => {
    const answer = await get({ sandboxId: 'inotthere00000000000a' }, 80)
    assert.equal(answer.status, 502)
    assert.equal(JSON.parse(answer.body).message, 'The sandbox was not found')
    const html = await get({ sandboxId: 'inotthere00000000000a' }, 80, '/', { headers: browser })
    assert.match(html.body, /Sandbox Not Found/)
  })

  test("the daemon's internal routes are refused", async () => {
    for (const path of ['/init', '/freeze', '/upgrade', '//init', '/x/../init']) {
      const answer = await get(sandbox, 49983, path, { method: 'POST' })
      assert.equal(answer.status, 404, path)
      assert.match(answer.body, /reserved for the E2B control plane/)
    }
  })

  test('the daemon wants its token', async () => {
    assert.equal((await get(sandbox, 49983, '/health')).status, 204)
    assert.equal((await get(sandbox, 49983, '/metrics')).status, 401)
  })

  test('a WebSocket echoes', async () => {
    await sandbox.files.write('echo.py', `
import base64, hashlib, socket
s = socket.create_server(("0.0.0.0", 8100))
while True:
    c, _ = s.accept()
    head = b""
    while b"\\r\\n\\r\\n" not in head: head += c.recv(4096)
    key = [l.split(b": ")[1] for l in head.split(b"\\r\\n") if l.lower().startswith(b"sec-websocket-key")][0]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    c.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: " + accept + b"\\r\\n\\r\\n")
    frame = c.recv(4096)
    mask, data = frame[2:6], frame[6:]
    plain = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
    c.sendall(bytes([0x81, len(plain)]) + plain)
`)
    await sandbox.commands.run('python3 echo.py', { background: true, timeoutMs: 0 })
    const target = hostRequest(sandbox, 8100)
    await eventually(() => sandbox.commands.run('ss -Htln sport = :8100').then((r) => r.stdout !== ''), 'the server listens')
    const socket = new WebSocket(`ws://${target.hostname}:${target.port}/`, { headers: { Host: target.headers.Host } })
    const echoed = await new Promise((resolve, reject) => {
      socket.on('open', () => socket.send('round trip')).on('message', (m) => resolve(m.toString())).on('error', reject)
    })
    assert.equal(echoed, 'round trip')
    socket.terminate()
  })

  test('a stream is not buffered', async () => {
    await sandbox.files.write('drip.py', `
import http.server, os, time
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(b"part 1\\n"); self.wfile.flush()
        while not os.path.exists("heard"): time.sleep(0.05)
        self.wfile.write(b"part 2\\n")
http.server.HTTPServer(("0.0.0.0", 8200), H).serve_forever()
`)
    await sandbox.commands.run('python3 drip.py', { background: true, timeoutMs: 0 })
    await eventually(() => sandbox.commands.run('ss -Htln sport = :8200').then((r) => r.stdout !== ''), 'the server listens')
    const seen = await new Promise((resolve, reject) => {
      http.get(hostRequest(sandbox, 8200), (response) => {
        let all = ''
        response.on('data', (data) => {
          all += data
          if (all === 'part 1\n') sandbox.files.write('heard', '').catch(reject) // the second part is sent after this
        }).on('end', () => resolve(all))
      }).on('error', reject)
    })
    assert.equal(seen, 'part 1\npart 2\n')
  })
})

test('a port of a killed sandbox leads to no sandbox', async () => {
  const sandbox = await create()
  await serveCounter(sandbox)
  assert.equal((await get(sandbox, 8000)).status, 200)
  await sandbox.kill()
  for (const port of [8000, 49983]) {
    const answer = await get(sandbox, port)
    assert.equal(answer.status, 502)
    assert.match(answer.headers['content-type'], /application\/json/)
    const { sandboxId, message, code } = JSON.parse(answer.body)
    assert.deepEqual({ sandboxId, message, code }, { sandboxId: sandbox.sandboxId, message: 'The sandbox was not found', code: 502 })
  }
})

test('the address of a port does not depend on where the daemon is reached', async () => {
  const sandbox = await create()
  const seen = await Promise.all(['http://localhost:' + new URL(process.env.E2B_SANDBOX_URL).port, process.env.E2B_SANDBOX_URL].map(async (sandboxUrl) => {
    const again = await Sandbox.connect(sandbox.sandboxId, { sandboxUrl })
    assert.equal((await again.commands.run('echo reached')).stdout, 'reached\n')
    assert.ok((await again.downloadUrl('f')).startsWith(`${sandboxUrl}/files?`))
    return again.getHost(8000)
  }))
  assert.equal(seen[0], seen[1])
  assert.ok(seen[0].startsWith(`8000-${sandbox.sandboxId}.`), seen[0])
})

describe('private traffic', () => {
  test('needs the traffic token', async () => {
    const sandbox = await create({ network: { allowPublicTraffic: false } })
    assert.ok(sandbox.trafficAccessToken)
    await sandbox.commands.run('python3 -m http.server 8000', { background: true, timeoutMs: 0 })
    assert.equal((await get(sandbox, 8000)).status, 403)
    assert.equal((await get(sandbox, 8000, '/', { headers: { 'e2b-traffic-access-token': 'wrong' } })).status, 403)
    await eventually(async () => (await get(sandbox, 8000, '/', { headers: { 'e2b-traffic-access-token': sandbox.trafficAccessToken } })).status === 200, 'the token opens the port')
  })

  test('is still told which port is closed, and leaves the daemon to its own token', async () => {
    const sandbox = await create({ network: { allowPublicTraffic: false } })
    const closed = await get(sandbox, 9999, '/', { headers: { 'e2b-traffic-access-token': sandbox.trafficAccessToken } })
    assert.equal(closed.status, 502)
    const { sandboxId, message, port, code } = JSON.parse(closed.body)
    assert.deepEqual({ sandboxId, message, port, code }, { sandboxId: sandbox.sandboxId, message: 'The sandbox is running but port is not open', port: 9999, code: 502 })
    assert.equal((await get(sandbox, 49983, '/health')).status, 204)
    assert.equal((await get(sandbox, 49983, '/metrics', { headers: { 'X-Access-Token': sandbox.envdAccessToken } })).status, 200)
  })

  test('the Host header can be masked', async () => {
    const sandbox = await create({ network: { maskRequestHost: 'masked.example.com:${PORT}' } })
    await sandbox.files.write('host.py', `
import http.server
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(self.headers["Host"].encode())
http.server.HTTPServer(("0.0.0.0", 8000), H).serve_forever()
`)
    await sandbox.commands.run('python3 host.py', { background: true, timeoutMs: 0 })
    const answer = await eventually(async () => {
      const r = await get(sandbox, 8000)
      return r.status === 200 && r
    }, 'the server answers')
    assert.equal(answer.body, 'masked.example.com:8000')
  })
})
