// The desktop's stream as a person sees it: a real Chromium opens the stream's URL through
// Shoal's proxy.
import assert from 'node:assert/strict'
import { after, afterEach, before, test } from 'node:test'
import { Sandbox } from '@e2b/desktop'
import { address, browse } from '../browser.mjs'
import { eventually } from '../sandbox.mjs'

let desktop, browser
before(async () => {
  desktop = await Sandbox.create({ timeoutMs: 600_000 })
  browser = await browse()
}, { timeout: 240_000 })
after(async () => {
  await browser?.close()
  await desktop?.kill()
})

afterEach(() => desktop.stream.stop().catch(() => {})) // it may be stopped already

/** Opens a stream's URL, with the name and the port at which the proxy serves here. */
async function open(url) {
  const there = new URL(url)
  assert.equal(there.host, `6080-${desktop.sandboxId}.${desktop.sandboxDomain}`)
  const page = await browser.newPage()
  page.troubles = [] // what the page failed to load
  page.on('requestfailed', (request) => {
    const { errorText } = request.failure()
    page.troubles.push(`${request.url()}: ${errorText}`)
    // When Chromium runs on the sandboxes' machine, each sandbox that starts or ends
    // changes its network, and it cancels what it is loading.
    if (errorText === 'net::ERR_NETWORK_CHANGED') reload(page)
  })
  page.on('response', (answer) => { if (answer.status() >= 400) page.troubles.push(`${answer.url()}: ${answer.status()}`) })
  await page.goto(address(desktop, 6080) + there.pathname + there.search, { waitUntil: 'commit', timeout: 150_000 })
    .catch((error) => { if (!error.message.includes('ERR_NETWORK_CHANGED')) throw error })
  return page
}

/** Reloads a page, only once even if several of its files were canceled. */
function reload(page) {
  page.reloading ??= setTimeout(async () => {
    await page.reload({ waitUntil: 'commit', timeout: 150_000 }).catch(() => {}) // it is closed, or was canceled again
    page.reloading = undefined
  }, 500)
}

const connected = (page) => shows(page, 'html.noVNC_connected', 'attached')

/** Resolves when a page shows what the selector says. noVNC is some fifty files, and the
 * desktop's server starts a process for each connection, which takes long on a busy
 * machine. On a time-out, the error tells what was seen. */
async function shows(page, selector, state) {
  try {
    return await page.waitForSelector(selector, { state, timeout: 150_000 })
  } catch (error) {
    const status = await page.evaluate(() => document.documentElement.className)
    const { stdout } = await desktop.commands.run('tail -n 5 /tmp/novnc.log; netstat -tn')
    throw new Error(`the page says ${status}; it could not load: ${page.troubles.join(', ')}; the desktop:\n${stdout}`, { cause: error })
  }
}

/** How many colors the canvas of a page shows, of the desktop's 1024 × 768 pixels. */
const colors = (page) => page.evaluate(() => {
  const canvas = document.querySelector('#noVNC_container canvas')
  if (canvas?.width !== 1024 || canvas?.height !== 768) return 0
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
  return new Set(new Uint32Array(data.buffer)).size
})

/** Moves the page's mouse to a place of the desktop. */
async function point(page, x, y) {
  const frame = await page.locator('#noVNC_container canvas').boundingBox()
  await page.mouse.move(frame.x + (x * frame.width) / 1024, frame.y + (y * frame.height) / 768, { steps: 5 })
}

const near = ({ x, y }, wantX, wantY) => Math.abs(x - wantX) <= 3 && Math.abs(y - wantY) <= 3

test('has no URL before it starts', () => {
  assert.throws(() => desktop.stream.getUrl(), /Server is not running/)
})

test('shows the desktop, and takes the mouse and the keyboard', async () => {
  await desktop.stream.start()
  await assert.rejects(desktop.stream.start(), /Stream is already running/)
  const page = await open(desktop.stream.getUrl())
  await connected(page)
  await eventually(async () => (await colors(page)) > 50, 'the page shows the desktop', 60_000)
  await point(page, 200, 300)
  await eventually(async () => near(await desktop.getCursorPosition(), 200, 300), 'the mouse follows', 90_000)
  const watcher = await open(desktop.stream.getUrl({ viewOnly: true }))
  await connected(watcher)
  await eventually(async () => (await colors(watcher)) > 50, 'a second page shows the desktop', 60_000)
  await point(watcher, 700, 600)
  await point(page, 500, 500)
  await eventually(async () => near(await desktop.getCursorPosition(), 500, 500), 'the mouse follows the first page only', 90_000)
  await desktop.commands.run('xfce4-terminal --disable-server --command "sh -c \'read line; echo \\$line > typed\'"', { background: true, timeoutMs: 0 })
  await eventually(async () => (await desktop.getWindowTitle(await desktop.getCurrentWindowId()).catch(() => '')).match(/terminal/i), 'a terminal has the focus', 60_000)
  await page.bringToFront()
  await page.locator('#noVNC_container canvas').focus()
  await page.keyboard.type('by hand', { delay: 30 })
  await page.keyboard.press('Enter')
  await eventually(async () => (await desktop.files.read('typed').catch(() => '')) === 'by hand\n', 'the keys arrive', 90_000)
  await page.close()
  await watcher.close()
  await desktop.stream.stop()
  assert.throws(() => desktop.stream.getAuthKey())
})

test('asks for the key that it was started with', async () => {
  await desktop.stream.start({ requireAuth: true })
  const key = desktop.stream.getAuthKey()
  assert.match(key, /^[A-Za-z0-9]{16}$/)
  const stranger = await open(desktop.stream.getUrl({ authKey: 'wrong' }))
  await shows(stranger, '#noVNC_status.noVNC_status_error, #noVNC_status.noVNC_status_warn', 'visible')
  assert.equal(await stranger.locator('html.noVNC_connected').count(), 0)
  await stranger.close()
  const page = await open(desktop.stream.getUrl({ authKey: key }))
  await connected(page)
  await eventually(async () => (await colors(page)) > 50, 'the page shows the desktop', 60_000)
  await page.close()
  await desktop.stream.stop()
})

test('can be started at once after its end, even if the server hangs', async () => {
  const withoutKey = { requireAuth: false } // once it has required a key, the SDK keeps doing so
  await desktop.stream.start(withoutKey)
  await desktop.commands.run('kill -STOP $(pgrep -x x11vnc)') // now it handles no signals
  await desktop.stream.stop()
  await desktop.stream.start(withoutKey)
  const page = await open(desktop.stream.getUrl())
  await connected(page)
  await page.close()
})
