// The programs of the desktop, started as people and their agents do.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Sandbox } from '@e2b/desktop'
import { Template } from 'e2b'
import { eventually } from '../sandbox.mjs'
import { decode } from './screen.mjs'

let desktop
let broken // waits for a minute, so it starts before the first test
before(async () => {
  desktop = await Sandbox.create({ timeoutMs: 600_000 })
  broken = withoutWindows()
  broken.catch(() => {}) // the last test reports it
}, { timeout: 240_000 })
after(() => desktop?.kill())

/** Resolves with the visible window of a program. */
async function windowOf(program) {
  return eventually(async () => (await desktop.getApplicationWindows(program).catch(() => []))[0], `${program} has a window`, 90_000)
}

test('has the programs that people look for', async () => {
  const programs = ['chromium', 'no-such-program', 'gedit', 'xpdf', 'xpaint', 'pcmanfm', 'galculator', 'tint2', 'xclock', 'ffmpeg', 'nc', 'libreoffice',
    'google-chrome', 'xfce4-taskmanager', 'mousepad', 'xauth', 'netstat', 'gtk-launch', 'wget', 'git', 'sudo', 'pip3']
  const { stdout } = await desktop.commands.run(`for p in ${programs.join(' ')}; do command -v $p >/dev/null || echo $p; done; python3 -c 'import numpy'`)
  assert.deepEqual(stdout.trim().split('\n'), ['no-such-program'])
  const links = await desktop.commands.run('readlink /etc/alternatives/x-terminal-emulator /etc/alternatives/x-www-browser; test ! -e ~/.vnc; ls /opt/noVNC/utils/websockify/run /opt/noVNC/utils/novnc_proxy /opt/noVNC/vnc.html /opt/noVNC/index.html')
  assert.deepEqual(links.stdout.trim().split('\n').slice(0, 2), ['/usr/bin/xfce4-terminal.wrapper', '/usr/bin/chromium'])
  const saver = await eventually(async () => (await desktop.commands.run('xset q')).stdout.match(/timeout:\s+0/) && desktop.commands.run('xset q'), 'the screen saver is off', 90_000)
  assert.match(saver.stdout, /DPMS is Disabled|Server does not have the DPMS/)
})

/** Prints the types of the extensions in the first ClientHello, without the reserved ones. */
const hello = `
import socket, struct
listener = socket.socket(); listener.bind(("127.0.0.1", 8443)); listener.listen()
c, _ = listener.accept()
data = b""
while len(data) < 5 or len(data) < 5 + struct.unpack(">H", data[3:5])[0]: data += c.recv(65536)
c.close()
at = 5 + 4 + 2 + 32
at += 1 + data[at]
at += 2 + struct.unpack(">H", data[at:at + 2])[0]
at += 1 + data[at] + 2
while at < len(data):
    kind, size = struct.unpack(">HH", data[at:at + 4])
    print("%04x" % kind)
    at += 4 + size
`

test('sends no extension that could hide the name of a server', async () => {
  await desktop.files.write('/home/user/hello.py', hello)
  const listener = await desktop.commands.run('python3 hello.py', { background: true })
  await eventually(async () => (await desktop.commands.run('ss -ltn')).stdout.includes(':8443'), 'the server listens')
  await desktop.commands.run('timeout 60 chromium --headless --user-data-dir=/tmp/hello --dump-dom https://localhost:8443/ >/dev/null 2>&1 || true')
  const kinds = (await listener.wait()).stdout.trim().split('\n')
  assert.ok(kinds.includes('0000'), `it names the server: ${kinds}`)
  assert.ok(!kinds.includes('fe0d'), `it sends no Encrypted ClientHello: ${kinds}`)
})

test('does not repeat keys', async () => {
  await eventually(async () => (await desktop.commands.run('xset q')).stdout.match(/auto repeat:\s+off/), 'held keys do not repeat', 90_000)
})

test('has letters of Chinese, Japanese and Korean', async () => {
  const { stdout } = await desktop.commands.run('fc-list :charset=4e2d file; fc-list :charset=3042 file; fc-list :charset=ac00 file')
  assert.equal(stdout.match(/wqy-microhei/g)?.length, 3, stdout)
})

test('opens texts in an editor and PDFs in the browser', async () => {
  const { stdout } = await desktop.commands.run('xdg-mime query default text/plain; xdg-mime query default application/pdf')
  assert.equal(stdout, 'org.xfce.mousepad.desktop\nchromium.desktop\n')
  await desktop.files.write('/home/user/words.txt', 'a note')
  await desktop.open('/home/user/words.txt')
  await eventually(async () => (await desktop.getWindowTitle(await windowOf('mousepad')).catch(() => '')).match(/words\.txt/), 'the editor has the text', 90_000)
  await desktop.commands.run('pkill mousepad')
})

test('carries no packages that are installed already', async () => {
  const { stdout } = await desktop.commands.run('find /var/cache/apt/archives -name "*.deb"', { user: 'root' })
  assert.equal(stdout, '')
})

test('types into a program', async () => {
  await desktop.launch('org.gnome.gedit')
  const window = await windowOf('gedit')
  await eventually(async () => (await desktop.getWindowTitle(await desktop.getCurrentWindowId()).catch(() => '')).match(/gedit/i), 'gedit has the focus', 90_000)
  await desktop.write('typed by a program')
  await eventually(async () => (await desktop.getWindowTitle(window)).startsWith('*'), 'gedit has a changed document', 90_000)
  await desktop.commands.run('pkill gedit')
})

test('launches google-chrome on a page', async () => {
  await desktop.files.write('/home/user/page.html', `<title>a page for Chrome</title><body style="background: #0a0">`)
  await desktop.launch('google-chrome', 'file:///home/user/page.html')
  await eventually(async () => {
    const windows = await desktop.getApplicationWindows('chromium').catch(() => [])
    const titles = await Promise.all(windows.map((w) => desktop.getWindowTitle(w).catch(() => '')))
    return titles.some((title) => title.includes(`a page for Chrome`))
  }, `Chrome shows the page, and nothing before it`, 110_000)
  await eventually(async () => {
    const { points, channels } = decode(Buffer.from(await desktop.screenshot()))
    let green = 0
    for (let at = 0; at < points.length; at += channels) if (points[at] === 0 && points[at + 1] === 0xaa && points[at + 2] === 0) green++
    return green > 50_000
  }, 'the page is seen', 60_000)
  await desktop.commands.run(`pkill -f chromium`).catch(() => {})
})

/** Starts a desktop without a window manager, and checks what is left of it. */
async function withoutWindows() {
  const name = 'desktop-without-windows'
  await Template.build(Template().fromTemplate('desktop').runCmd('mv /usr/bin/xfwm4 /usr/bin/xfwm4-away', { user: 'root' }), name, { cpuCount: 4, memoryMB: 4096 })
  try {
    const metadata = { session: 'broken' }
    await assert.rejects(Sandbox.create(name, { metadata, timeoutMs: 300_000 }), /Could not start XFCE/)
    assert.deepEqual(await Sandbox.list({ query: { metadata } }).nextItems(), [])
  } finally {
    await fetch(new URL(`/templates/${name}`, process.env.E2B_API_URL), { method: 'DELETE', headers: { 'X-API-Key': process.env.E2B_API_KEY } })
  }
}

test('is gone when its session cannot start', { timeout: 300_000 }, () => broken)
