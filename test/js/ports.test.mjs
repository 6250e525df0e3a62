// Each sandbox has an address on its machine. These tests run on that machine.
import { before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import dgram from 'node:dgram'
import { promisify } from 'node:util'
import { Sandbox } from 'e2b'
import { api, create, eventually } from './sandbox.mjs'

const nobody = 65534

/** The answer of a server to curl as a user of this machine; undefined if there is none. */
const curl = (url, uid) => promisify(execFile)('curl', ['-sf', '--max-time', '5', url], { uid, gid: uid })
  .then(({ stdout }) => stdout, () => undefined)

describe("a sandbox's address on its machine", () => {
  let sandbox, address
  before(async () => {
    sandbox = await create()
    await sandbox.files.write('site/index.html', 'served from inside')
    address = (await api('GET', `/sandboxes/${sandbox.sandboxId}`)).body.hostAddress
  })

  test("is in the answers of create, connect, get and list, as is the daemon's URL", async () => {
    const made = await api('POST', '/sandboxes', { templateID: 'base' })
    const { sandboxID, hostAddress } = made.body
    try {
      assert.match(hostAddress, /^10\.\d+\.\d+\.\d+$/)
      const answers = [made.body,
        (await api('POST', `/sandboxes/${sandboxID}/connect`, { timeout: 60 })).body,
        (await api('GET', `/sandboxes/${sandboxID}`)).body,
        (await api('GET', '/sandboxes')).body.find((s) => s.sandboxID === sandboxID),
        (await api('GET', '/v2/sandboxes')).body.find((s) => s.sandboxID === sandboxID)]
      for (const answer of answers) {
        assert.equal(answer.hostAddress, hostAddress)
        assert.equal(answer.envdURL, `http://${hostAddress}:49983`)
      }
      await Sandbox.pause(sandboxID)
      assert.equal((await api('GET', `/sandboxes/${sandboxID}`)).body.hostAddress, undefined)
    } finally {
      await Sandbox.kill(sandboxID)
    }
  })

  for (const [bind, port] of [['0.0.0.0', 8000], ['127.0.0.1', 8001], ['::', 8002], ['::1', 8003], ['localhost', 8004]]) {
    test(`answers for a server bound to ${bind}, to any user of the machine`, async () => {
      await sandbox.commands.run(`python3 -m http.server --bind ${bind} ${port} -d site`, { background: true, timeoutMs: 0 })
      const answer = await eventually(() => curl(`http://${address}:${port}`, 0), 'it answers root')
      assert.equal(answer, 'served from inside')
      assert.equal(await curl(`http://${address}:${port}`, nobody), 'served from inside')
    })
  }

  test('answers for a UDP service', async () => {
    await sandbox.files.write('echo.py', `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 9000))
while True:
    data, peer = s.recvfrom(100); s.sendto(data, peer)
`)
    await sandbox.commands.run('python3 echo.py', { background: true, timeoutMs: 0 })
    const socket = dgram.createSocket('udp4')
    let echoed
    socket.on('message', (data) => { echoed = String(data) })
    try {
      await eventually(() => { socket.send('hello', 9000, address); return echoed }, 'it answers')
      assert.equal(echoed, 'hello')
    } finally {
      socket.close()
    }
  })

  test('takes no connection to a port that nobody listens on', async () => {
    assert.equal(await curl(`http://${address}:9999`, 0), undefined)
  })

  test('belongs to no other sandbox', async () => {
    const other = await create()
    const { exitCode } = await other.commands.run(`curl -sf --max-time 3 http://${address}:8000`).catch((error) => error)
    assert.notEqual(exitCode, 0)
  })
})
