// The screen, the mouse and the files of the desktop, through its SDK. The template desktop
// must be built.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Sandbox } from '@e2b/desktop'
import { eventually } from '../sandbox.mjs'
import { box, decode } from './screen.mjs'

let desktop
before(async () => { desktop = await Sandbox.create({ timeoutMs: 600_000 }) }, { timeout: 240_000 })
after(() => desktop?.kill())

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const screen = async () => decode(Buffer.from(await desktop.screenshot()))

test('has a screen with the cursor in its middle', async () => {
  assert.deepEqual(await desktop.getScreenSize(), { width: 1024, height: 768 })
  assert.deepEqual(await desktop.getCursorPosition(), { x: 512, y: 384 })
})

test('shows its wallpaper', async () => {
  await eventually(async () => {
    const { points, channels, width } = await screen(), at = (x, y) => points.subarray((y * width + x) * channels, (y * width + x) * channels + 3)
    const [dark, bright] = [at(30, 600), at(1000, 740)]
    return dark[2] > dark[0] + 20 && bright[0] > dark[0] + 15
  }, 'a blue that becomes brighter', 90_000)
})

test('opens the menu of the desktop by a right click', async () => {
  const { x, y } = await desktop.getCursorPosition()
  const before = await screen()
  assert.equal(before.width, 1024)
  await eventually(async () => {
    await desktop.rightClick() // a new session may miss the first click
    await pause(5000) // XFCE needs this long
    const seen = !box(await screen(), x, y, 100).equals(box(before, x, y, 100))
    await desktop.press('esc')
    return seen
  }, 'the menu', 90_000)
})

test('moves the mouse', async () => {
  await desktop.moveMouse(100, 200)
  assert.deepEqual(await desktop.getCursorPosition(), { x: 100, y: 200 })
  await desktop.drag([100, 200], [200, 300])
  assert.deepEqual(await desktop.getCursorPosition(), { x: 200, y: 300 })
})

test('opens files', async () => {
  await desktop.files.write('/home/user/note.txt', 'a note')
  await desktop.open('/home/user/note.txt')
  assert.equal(await desktop.files.read('/home/user/note.txt'), 'a note')
  const title = await eventually(async () => (await desktop.commands.run('xdotool search --name note.txt getwindowname').catch(() => ({ stdout: '' }))).stdout, 'the note is shown', 90_000)
  assert.match(title, /note\.txt/)
})

test('keeps its display after a connect', async () => {
  const again = await Sandbox.connect(desktop.sandboxId)
  await again.moveMouse(300, 400)
  assert.deepEqual(await again.getCursorPosition(), { x: 300, y: 400 })
})
