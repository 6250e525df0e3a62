// The desktop SDK against the template desktop, which must be built.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Sandbox } from '@e2b/desktop'
import WebSocket from 'ws'
import { eventually } from '../sandbox.mjs'

let desktop
before(async () => { desktop = await Sandbox.create({ timeoutMs: 600_000 }) }, { timeout: 60_000 })
after(() => desktop?.kill())

test('has a screen with the cursor in its middle', async () => {
  assert.deepEqual(await desktop.getScreenSize(), { width: 1024, height: 768 })
  assert.deepEqual(await desktop.getCursorPosition(), { x: 512, y: 384 })
  const image = Buffer.from(await desktop.screenshot())
  assert.equal(image.subarray(1, 4).toString(), 'PNG')
})

test('opens the menu of the desktop by a right click', async () => {
  await eventually(async () => (await desktop.getApplicationWindows('xfdesktop').catch(() => [])).length > 0, 'XFCE shows its desktop', 60_000)
  const before = Buffer.from(await desktop.screenshot())
  await eventually(async () => {
    await desktop.moveMouse(300, 600)
    await desktop.rightClick()
    await new Promise((resolve) => setTimeout(resolve, 1000))
    const now = Buffer.from(await desktop.screenshot())
    return Math.abs(now.length - before.length) > 1000
  }, 'a menu is seen', 30_000)
  await desktop.press('esc')
})

test('moves the mouse', async () => {
  await desktop.moveMouse(100, 200)
  assert.deepEqual(await desktop.getCursorPosition(), { x: 100, y: 200 })
  await desktop.drag([100, 200], [200, 300])
  assert.deepEqual(await desktop.getCursorPosition(), { x: 200, y: 300 })
})

test('types into a program', async () => {
  await desktop.launch('org.gnome.gedit')
  const [window] = await eventually(async () => {
    const windows = await desktop.getApplicationWindows('gedit').catch(() => [])
    return windows.length > 0 && windows
  }, 'gedit is open', 60_000)
  assert.match(await desktop.getWindowTitle(window), /gedit/i)
  await eventually(async () => (await desktop.getWindowTitle(await desktop.getCurrentWindowId()).catch(() => '')).match(/gedit/i), 'gedit has the focus', 20_000)
  await desktop.write('typed by a program')
  await eventually(async () => (await desktop.getWindowTitle(window)).startsWith('*'), 'gedit has a changed document', 20_000)
})

test('opens files', async () => {
  await desktop.files.write('/home/user/note.txt', 'a note')
  await desktop.open('/home/user/note.txt')
  assert.equal(await desktop.files.read('/home/user/note.txt'), 'a note')
})

test('streams its screen through the proxy', async () => {
  await desktop.stream.start()
  const url = new URL(desktop.stream.getUrl())
  assert.equal(url.pathname, '/vnc.html')
  const proxy = new URL(process.env.E2B_SANDBOX_URL)
  const headers = { 'E2b-Sandbox-Id': desktop.sandboxId, 'E2b-Sandbox-Port': '6080' }
  const page = await fetch(new URL('/vnc.html', proxy), { headers })
  assert.equal(page.status, 200)
  assert.match(await page.text(), /noVNC/)
  const greeting = await new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${proxy.host}/websockify`, ['binary'], { headers })
    socket.on('message', (data) => { resolve(data.toString()); socket.close() })
    socket.on('error', reject)
  })
  assert.match(greeting, /^RFB 003/)
  await desktop.stream.stop()
})
