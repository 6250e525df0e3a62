import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { randomUUID } from 'node:crypto'
import { Sandbox, SandboxNotFoundError } from 'e2b'
import { create, eventually, hostRequest } from './sandbox.mjs'

function get(sandbox, port, path = '/') {
  return new Promise((resolve, reject) => {
    http.get({ ...hostRequest(sandbox, port, path), agent: false }, (response) => {
      let body = ''
      response.on('data', (chunk) => { body += chunk })
      response.on('end', () => resolve({ status: response.statusCode, body }))
    }).on('error', reject)
  })
}

/** A web server that counts its requests in memory. */
const counter = `python3 -u -c '
import http.server
n = 0
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global n
        n += 1
        self.send_response(200); self.end_headers(); self.wfile.write(str(n).encode())
    def log_message(self, *a): pass
http.server.HTTPServer(("0.0.0.0", 8000), H).serve_forever()
'`

async function serveCounter(sandbox) {
  await sandbox.commands.run(counter, { background: true, timeoutMs: 0 })
  await eventually(async () => (await get(sandbox, 8000)).body === '1', 'the counter serves')
}

const bootID = async (sandbox) => (await sandbox.commands.run('cat /proc/sys/kernel/random/boot_id')).stdout

describe('pause and resume', () => {
  test('memory, processes, files, environment, clock and identity come back', async () => {
    const sandbox = await create({ envs: { FROM_CREATE: 'kept' }, metadata: { m: '1' } })
    await serveCounter(sandbox)
    const hash = (await sandbox.commands.run('head -c 20000000 /dev/urandom > /dev/shm/big && head -c 20000000 /dev/urandom > big && sha256sum /dev/shm/big big')).stdout
    const before = await sandbox.getInfo()

    assert.equal(await sandbox.pause(), true)
    assert.equal((await sandbox.getInfo()).state, 'paused')
    assert.equal(await sandbox.isRunning(), false)
    assert.equal(await sandbox.pause(), false)
    const same = await sandbox.connect({ timeoutMs: 200_000 })
    assert.equal(same.sandboxId, sandbox.sandboxId)

    assert.equal((await get(sandbox, 8000)).body, '2')
    assert.equal((await sandbox.commands.run('sha256sum /dev/shm/big big')).stdout, hash)
    assert.equal((await sandbox.commands.run('echo $FROM_CREATE $E2B_SANDBOX_ID')).stdout, `kept ${sandbox.sandboxId}\n`)
    const clock = Number((await sandbox.commands.run('date +%s%3N')).stdout)
    assert.ok(Math.abs(clock - Date.now()) < 3000, `the guest's clock is ${clock - Date.now()} ms off`)
    const info = await sandbox.getInfo()
    assert.equal(info.state, 'running')
    assert.deepEqual(info.metadata, { m: '1' })
    assert.ok(info.startedAt >= before.startedAt)
    assert.ok(Math.abs(info.endAt - info.startedAt - 200_000) < 1000)
  })

  test('a command goes on and its stream is attached again', async () => {
    const sandbox = await create()
    const handle = await sandbox.commands.run('for i in $(seq 1 1000); do echo tick $i; sleep 0.1; done', { background: true, timeoutMs: 0 })
    await eventually(() => handle.stdout.includes('tick 3'), 'it ticks')
    await sandbox.pause()
    await sandbox.connect()
    let heard = ''
    const again = await sandbox.commands.connect(handle.pid, { onStdout: (data) => { heard += data }, timeoutMs: 0 })
    await eventually(() => heard.includes('tick'), 'it ticks again')
    assert.ok(Number(heard.match(/tick (\d+)/)[1]) > 3, heard)
    await again.kill()
  })

  test('a terminal keeps its shell', async () => {
    const sandbox = await create()
    let out = ''
    const onData = (data) => { out += new TextDecoder().decode(data) }
    const terminal = await sandbox.pty.create({ cols: 80, rows: 24, onData, timeoutMs: 0 })
    await sandbox.pty.sendInput(terminal.pid, new TextEncoder().encode('SECRET=in-memory\n'))
    await sandbox.pause()
    await sandbox.connect()
    const again = await sandbox.pty.connect(terminal.pid, { onData, timeoutMs: 0 })
    await sandbox.pty.sendInput(terminal.pid, new TextEncoder().encode('echo "<$SECRET>"\n'))
    await eventually(() => out.includes('<in-memory>'), 'the shell answers')
    await again.kill()
  })

  test('only the disk, if asked: a new boot, the files are there', async () => {
    const sandbox = await create()
    await sandbox.files.write('/home/user/kept.txt', 'on disk')
    await sandbox.commands.run('sudo mkdir /etc/new && sudo rm /etc/hostname && sudo touch /etc/new/file')
    await sandbox.commands.run('sleep 1000', { background: true, timeoutMs: 0 })
    const boot = await bootID(sandbox)
    assert.equal(await sandbox.pause({ keepMemory: false }), true)
    for (let round = 0; round < 2; round++) {
      await sandbox.connect()
      assert.equal(await sandbox.files.read('/home/user/kept.txt'), 'on disk')
      assert.equal((await sandbox.commands.run('ls /etc/new; test -e /etc/hostname || echo gone')).stdout, 'file\ngone\n')
      assert.notEqual(await bootID(sandbox), boot)
      assert.ok(!(await sandbox.commands.list()).some((p) => p.args.join(' ').includes('sleep 1000')))
      if (round === 0) await sandbox.pause({ keepMemory: false })
    }
  })

  test('connect with a reboot ignores the memory that was kept', async () => {
    const sandbox = await create()
    await sandbox.files.write('kept.txt', 'on disk')
    const boot = await bootID(sandbox)
    await sandbox.pause()
    await sandbox.connect({ onResume: 'reboot' })
    assert.notEqual(await bootID(sandbox), boot)
    assert.equal(await sandbox.files.read('kept.txt'), 'on disk')
  })

  test('the time-out pauses, connect brings it back, and the policy stays', async () => {
    const sandbox = await create({ timeoutMs: 1_000, lifecycle: { onTimeout: 'pause' } })
    for (let round = 0; round < 2; round++) {
      await eventually(async () => (await sandbox.getInfo()).state === 'paused', 'it is paused at its time-out')
      assert.deepEqual((await sandbox.getInfo()).lifecycle, { autoResume: false, onTimeout: 'pause' })
      assert.equal(await sandbox.isRunning(), false)
      assert.equal((await sandbox.getInfo()).state, 'paused')
      await sandbox.connect({ timeoutMs: 1_000 })
    }
  })

  test('traffic wakes a sandbox that wants it, and all requests are answered', async () => {
    const sandbox = await create({ timeoutMs: 60_000, lifecycle: { onTimeout: 'pause', autoResume: true } })
    await serveCounter(sandbox)
    await sandbox.pause()
    const answers = await Promise.all(Array.from({ length: 10 }, () => get(sandbox, 8000)))
    assert.deepEqual(answers.map((a) => a.status), Array(10).fill(200))
    assert.deepEqual(answers.map((a) => Number(a.body)).sort((a, b) => a - b), [2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    const info = await sandbox.getInfo()
    assert.equal(info.state, 'running')
    assert.ok(Math.abs(info.endAt - info.startedAt - 300_000) < 1000)
    await sandbox.pause()
    assert.equal((await sandbox.commands.run('echo awake')).stdout, 'awake\n')
  })

  test('ten at once connect to a paused sandbox', async () => {
    const sandbox = await create()
    await sandbox.pause()
    const all = await Promise.all(Array.from({ length: 10 }, () => Sandbox.connect(sandbox.sandboxId)))
    const said = await Promise.all(all.map((s, i) => s.commands.run(`echo ${i}`)))
    assert.deepEqual(said.map((r) => r.stdout), Array.from({ length: 10 }, (_, i) => `${i}\n`))
  })

  test('a paused sandbox can be killed', async () => {
    const sandbox = await create()
    await sandbox.pause()
    assert.equal(await sandbox.kill(), true)
    assert.equal(await sandbox.kill(), false)
    await assert.rejects(sandbox.connect(), SandboxNotFoundError)
    await assert.rejects(sandbox.pause(), SandboxNotFoundError)
  })

  test('the network policy holds after a resume', async () => {
    const sandbox = await create({ network: { allowPublicTraffic: false } })
    await serveCounterPrivately(sandbox)
    await sandbox.pause()
    await sandbox.connect()
    assert.equal((await get(sandbox, 8000)).status, 403)
    assert.deepEqual((await sandbox.getInfo()).network?.allowPublicTraffic, false)
  })
})

async function serveCounterPrivately(sandbox) {
  await sandbox.commands.run(counter, { background: true, timeoutMs: 0 })
  await eventually(async () => (await sandbox.commands.run('curl -s localhost:8000 || true')).stdout === '1', 'the counter serves')
}

describe('snapshots', () => {
  test('sandboxes begin where the snapshot was taken; the original goes on', async () => {
    const sandbox = await create({ envs: { KEPT: 'yes' } })
    await serveCounter(sandbox)
    await sandbox.files.write('state.txt', 'at the snapshot')
    const snapshot = await sandbox.createSnapshot()
    assert.match(snapshot.snapshotId, /^[a-z0-9]{20}:default$/)
    await sandbox.files.write('state.txt', 'later')
    const copies = await Promise.all([1, 2].map(async () => {
      const copy = await Sandbox.create(snapshot.snapshotId, { timeoutMs: 60_000 })
      assert.equal(await copy.files.read('state.txt'), 'at the snapshot')
      assert.equal((await get(copy, 8000)).body, '2')
      assert.equal((await copy.commands.run('echo $E2B_SANDBOX_ID')).stdout, `${copy.sandboxId}\n`)
      return copy
    }))
    await copies[0].files.write('state.txt', 'mine')
    assert.equal(await copies[1].files.read('state.txt'), 'at the snapshot')
    assert.equal(await sandbox.files.read('state.txt'), 'later')
    assert.equal((await get(sandbox, 8000)).body, '2')
    const listed = await sandbox.listSnapshots().nextItems()
    assert.deepEqual(listed.map((s) => s.snapshotId), [snapshot.snapshotId])
    await Promise.all(copies.map((copy) => copy.kill()))
    // It survives its source.
    await sandbox.kill()
    const late = await Sandbox.create(snapshot.snapshotId)
    assert.equal(await late.files.read('state.txt'), 'at the snapshot')
    await late.kill()
    assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), true)
    assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), false)
    await assert.rejects(Sandbox.create(snapshot.snapshotId))
  })

  test('a name leads to the newest snapshot at once', async () => {
    const sandbox = await create()
    const name = `snap-${randomUUID()}`
    for (const text of ['one', 'two']) {
      await sandbox.files.write('state.txt', text)
      const snapshot = await sandbox.createSnapshot({ name })
      assert.deepEqual(snapshot.names, [`local-dev-team/${name}`])
      assert.equal(snapshot.snapshotId, `local-dev-team/${name}:default`)
      const copy = await Sandbox.create(name, { timeoutMs: 60_000 })
      assert.equal(await copy.files.read('state.txt'), text)
      await copy.kill()
    }
    assert.equal(await Sandbox.deleteSnapshot(`local-dev-team/${name}:default`), true)
  })

  test('a chain of snapshots keeps every generation', async () => {
    let sandbox = await create()
    const names = []
    for (let generation = 0; generation < 3; generation++) {
      await sandbox.files.write(`generation-${generation}`, 'x')
      const snapshot = await sandbox.createSnapshot()
      names.push(snapshot.snapshotId)
      const parent = sandbox
      sandbox = await Sandbox.create(snapshot.snapshotId, { timeoutMs: 60_000 })
      await parent.kill()
    }
    await assert.rejects(Sandbox.deleteSnapshot(names[2]), /there are running sandboxes using it/)
    assert.equal((await sandbox.commands.run('ls generation-*')).stdout, 'generation-0\ngeneration-1\ngeneration-2\n')
    await sandbox.kill()
    for (const name of names) assert.equal(await Sandbox.deleteSnapshot(name), true)
  })
})

describe('fork', () => {
  test('copies have memory, disk and identity of their own', async () => {
    const sandbox = await create({ metadata: { of: 'all' } })
    await serveCounter(sandbox)
    await sandbox.files.write('state.txt', 'common')
    const forks = await sandbox.fork({ count: 3, timeoutMs: 60_000 })
    assert.equal(forks.length, 3)
    assert.equal(new Set([sandbox, ...forks].map((s) => s.sandboxId)).size, 4)
    for (const [i, fork] of forks.entries()) {
      assert.ok(fork instanceof Sandbox, String(fork))
      assert.equal(await fork.files.read('state.txt'), 'common')
      await fork.files.write('state.txt', `of ${i}`)
      assert.equal((await get(fork, 8000)).body, '2')
      assert.deepEqual((await fork.getInfo()).metadata, { of: 'all' })
    }
    const random = await Promise.all([sandbox, ...forks].map(async (s) => (await s.commands.run('head -c 16 /dev/urandom | xxd -p || head -c 16 /dev/urandom | od -An -tx1')).stdout))
    assert.equal(new Set(random).size, 4)
    for (const [i, fork] of forks.entries()) assert.equal(await fork.files.read('state.txt'), `of ${i}`)
    assert.equal(await sandbox.files.read('state.txt'), 'common')
    assert.equal((await get(sandbox, 8000)).body, '2')
    await Promise.all(forks.map((fork) => fork.kill()))
    assert.equal(await sandbox.isRunning(), true)
  })

  test('a fork during writes is whole', async () => {
    const sandbox = await create()
    await sandbox.commands.run('i=0; while true; do i=$((i+1)); echo $i > a.tmp; mv a.tmp a; echo $i > b.tmp; mv b.tmp b; done', { background: true, timeoutMs: 0 })
    await eventually(() => sandbox.files.exists('b'), 'it writes')
    const [fork] = await sandbox.fork()
    const [a, b] = (await fork.commands.run('pkill -f [a].tmp; cat a b')).stdout.trim().split('\n').map(Number)
    assert.ok(a - b === 0 || a - b === 1, `${a} ${b}`)
    await fork.kill()
  })

  test('paused and killed sandboxes are not forked', async () => {
    const sandbox = await create()
    await sandbox.pause()
    await assert.rejects(sandbox.fork(), /paused and cannot be forked/)
    await sandbox.kill()
    await assert.rejects(sandbox.fork(), SandboxNotFoundError)
    await assert.rejects(sandbox.createSnapshot(), SandboxNotFoundError)
  })
})
