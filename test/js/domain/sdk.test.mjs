// SDKs of several ages that know the domain and a key, and nothing else.
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import WebSocket from 'ws'
import { Sandbox, Template } from 'e2b'
import { Sandbox as Sandbox113 } from 'e2b1'
import { Sandbox as Sandbox10 } from 'e2b10'
import { Sandbox as Interpreter } from '@e2b/code-interpreter'
import { eventually } from '../sandbox.mjs'

const { E2B_DOMAIN: domain } = process.env
for (const name of ['E2B_API_URL', 'E2B_SANDBOX_URL', 'E2B_DEBUG']) assert.equal(process.env[name], undefined, name)

// A service that echoes messages of WebSockets, and writes a line each 200 ms at /lines.
const service = `
import base64, hashlib, http.server, struct, time
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if "Upgrade" in self.headers: return self.echo()
        self.send_response(200)
        if self.path != "/lines":
            text = "%s %s" % (self.headers["X-Forwarded-Proto"], self.headers["Host"])
            self.send_header("Content-Length", str(len(text))); self.end_headers()
            return self.wfile.write(text.encode())
        self.send_header("Transfer-Encoding", "chunked"); self.end_headers()
        for i in range(5):
            self.wfile.write(b"2\\r\\n%d\\n\\r\\n" % i); self.wfile.flush(); time.sleep(0.2)
        self.wfile.write(b"0\\r\\n\\r\\n")
    def echo(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101); self.send_header("Upgrade", "websocket"); self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()); self.end_headers()
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 15 == 8: return
            mask, body = self.rfile.read(4), self.rfile.read(head[1] & 127)
            text = bytes(b ^ mask[i % 4] for i, b in enumerate(body))
            self.wfile.write(struct.pack("BB", 129, len(text)) + text); self.wfile.flush()
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 3000), H).serve_forever()
`

const made = []
after(() => Promise.all(made.map((sandbox) => sandbox.kill())))

// Fragments calls it so.
const create = async (SDK) => {
  const sandbox = await SDK.create('base', { metadata: { template: 'base', userID: 'u', teamID: 't' }, timeoutMs: 300_000 })
  made.push(sandbox)
  return sandbox
}

for (const [version, SDK] of [['newest', Sandbox], ['1.13', Sandbox113], ['1.0', Sandbox10]]) {
  describe(`the ${version} SDK`, () => {
    let sandbox, host
    test('creates and runs', async () => {
      sandbox = await create(SDK)
      host = sandbox.getHost(3000)
      assert.ok(host.startsWith('3000-') && host.endsWith(`.${domain}`), host)
      assert.equal((await sandbox.commands.run('echo $((6*7))')).stdout, '42\n')
      await sandbox.files.write('/tmp/service.py', service)
      assert.equal(await sandbox.files.read('/tmp/service.py'), service)
      await sandbox.files.makeDir('/tmp/d')
      assert.ok((await sandbox.files.list('/tmp')).some((e) => e.name === 'd'))
    })

    test('streams output as it comes', async () => {
      const times = []
      await sandbox.commands.run('for i in 1 2 3; do echo $i; sleep 0.5; done', { onStdout: () => times.push(Date.now()) })
      assert.ok(times.at(-1) - times[0] > 700, `${times.map((t) => t - times[0])}`)
    })

    test('reaches a port by https', async () => {
      await sandbox.commands.run('python3 -u /tmp/service.py', { background: true, timeoutMs: 0 })
      const text = await eventually(async () => {
        const answer = await fetch(`https://${host}/`)
        return answer.ok && answer.text()
      }, 'the service answers')
      assert.equal(text, `https ${host}`)
      const times = []
      for await (const chunk of (await fetch(`https://${host}/lines`)).body) times.push([Date.now(), chunk])
      assert.ok(times.at(-1)[0] - times[0][0] > 500, 'lines are held back')
    })

    test('reaches a port by a WebSocket', async () => {
      const socket = new WebSocket(`wss://${host}/`)
      await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject))
      for (const text of ['one', 'two']) {
        const answer = new Promise((resolve) => socket.once('message', resolve))
        socket.send(text)
        assert.equal(String(await answer), text)
      }
      socket.terminate()
    })

    test('lists, connects and kills', async () => {
      const listed = await SDK.list()
      const all = Array.isArray(listed) ? listed : await listed.nextItems()
      assert.ok(all.some((s) => s.sandboxId.startsWith(sandbox.sandboxId.split('-')[0])))
      const again = await SDK.connect(sandbox.sandboxId)
      assert.equal((await again.commands.run('echo again')).stdout, 'again\n')
      await again.setTimeout(200_000)
      made.splice(made.indexOf(sandbox), 1)
      await sandbox.kill()
      await assert.rejects(sandbox.commands.run('true'))
    })
  })
}

test('signed file URLs are of the domain', async () => {
  const sandbox = await create(Sandbox)
  await sandbox.files.write('/tmp/signed.txt', 'signed')
  const url = await sandbox.downloadUrl('/tmp/signed.txt', { useSignatureExpiration: 60 })
  assert.ok(url.startsWith('https://49983-'), url)
  assert.equal(await (await fetch(url)).text(), 'signed')
})

test('a large file comes whole', async () => {
  const sandbox = await create(Sandbox)
  await sandbox.commands.run('head -c 20000000 /dev/urandom > /tmp/large')
  const sum = (await sandbox.commands.run('sha256sum < /tmp/large')).stdout.slice(0, 64)
  const bytes = await sandbox.files.read('/tmp/large', { format: 'bytes' })
  const hash = Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex')
  assert.equal(hash, sum)
})

test('templates upload their files to the domain', async () => {
  const name = `domain-${Date.now()}`
  const template = Template({ fileContextPath: import.meta.dirname }).fromBaseImage().copy('sdk.test.mjs', '/tmp/copied')
  await Template.build(template, { alias: name, cpuCount: 1, memoryMB: 512 })
  const sandbox = await Sandbox.create(name)
  made.push(sandbox)
  assert.equal(await sandbox.files.exists('/tmp/copied'), true)
})

test('the code interpreter asks its own port', async () => {
  // The base template has no interpreter: the answer names the port that was asked.
  const sandbox = await Interpreter.create('base')
  made.push(sandbox)
  await assert.rejects(sandbox.runCode('1'), /49999|not open/)
})
