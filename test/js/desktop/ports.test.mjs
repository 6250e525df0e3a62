// The desktop's VNC server and noVNC by the sandbox's address on its machine, and through the
// proxy.
import assert from 'node:assert/strict'
import net from 'node:net'
import { after, before, test } from 'node:test'
import WebSocket from 'ws'
import { Sandbox } from '@e2b/desktop'
import { api, eventually, get, hostRequest } from '../sandbox.mjs'

const version = /^RFB 003\.00[378]\n$/ // what a VNC server says first
let desktop, address
before(async () => {
  desktop = await Sandbox.create({ timeoutMs: 600_000 })
  await desktop.stream.start()
  address = (await api('GET', `/sandboxes/${desktop.sandboxId}`)).body.hostAddress
}, { timeout: 240_000 })
after(() => desktop?.kill())

/** Begins with a VNC server on a TCP connection, up to the kinds of security that it offers. */
function shakeHands(host, port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, host)
    let said = Buffer.alloc(0)
    socket.setTimeout(10_000, () => socket.destroy(new Error('no answer')))
    socket.on('error', reject).on('close', () => reject(new Error(`closed after ${JSON.stringify(said.toString('latin1'))}`)))
    socket.on('data', (data) => {
      const begins = said.length < 12
      said = Buffer.concat([said, data])
      if (begins && said.length >= 12) socket.write(said.subarray(0, 12)) // the same version will do
      if (said.length < 14) return
      resolve({ version: said.toString('latin1', 0, 12), kinds: said[12] })
      socket.destroy()
    })
  })
}

/** The first message of a WebSocket, as text. */
function firstMessage(url, options) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, ['binary'], options)
    socket.on('error', reject).on('close', () => reject(new Error('closed')))
    socket.on('message', (data) => { resolve(data.toString('latin1')); socket.close() })
  })
}

test("VNC answers at the desktop's address", async () => {
  const hands = await eventually(() => shakeHands(address, 5900).catch(() => undefined), 'the handshake', 60_000)
  assert.match(hands.version, version)
  assert.ok(hands.kinds > 0, 'the server offers a kind of security')
})

test("noVNC answers at the desktop's address", async () => {
  const page = await (await fetch(`http://${address}:6080/vnc.html`)).text()
  assert.match(page, /noVNC/)
  assert.match(await firstMessage(`ws://${address}:6080/websockify`), version)
})

test('noVNC answers through the proxy', async () => {
  const page = await get(desktop, 6080, '/vnc.html')
  assert.equal(page.status, 200)
  assert.match(page.body, /noVNC/)
  const { hostname, port, headers } = hostRequest(desktop, 6080)
  assert.match(await firstMessage(`ws://${hostname}:${port}/websockify`, { headers }), version)
})
