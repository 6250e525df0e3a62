import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { Sandbox, SandboxNotFoundError } from 'e2b'
import { api, bootID, create, eventually, fill, get, serveCounter, stateOf } from './sandbox.mjs'

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
    const from = Date.now()
    const clock = Number((await sandbox.commands.run('date +%s%3N')).stdout)
    assert.ok(clock > from - 1000 && clock < Date.now() + 1000, `the guest's clock says ${clock} between ${from} and ${Date.now()}`)
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
    await serveCounter(sandbox)
    await sandbox.pause()
    await sandbox.connect()
    assert.equal((await get(sandbox, 8000)).status, 403)
    assert.deepEqual((await sandbox.getInfo()).network?.allowPublicTraffic, false)
  })

  test('its description is the same before, during and after a pause', async () => {
    const sandbox = await create({ metadata: { m: '1' }, lifecycle: { onTimeout: 'pause', autoResume: true },
      network: { allowPublicTraffic: false, maskRequestHost: 'masked.example.com', denyOut: ['203.0.113.9'] } })
    const path = `/sandboxes/${sandbox.sandboxId}`
    const fixed = async () => {
      const { startedAt, endAt, state, pauseMode, coldBoot, envdURL, hostAddress, ...rest } = (await api('GET', path)).body
      return rest
    }
    const before = await fixed()
    assert.deepEqual(before.metadata, { m: '1' })
    assert.deepEqual(before.lifecycle, { autoResume: true, onTimeout: 'pause' })
    assert.deepEqual(before.network.denyOut, ['203.0.113.9'])
    assert.ok(before.envdAccessToken)
    for (const keepMemory of [true, false]) {
      await sandbox.pause({ keepMemory })
      assert.equal(await stateOf(sandbox), 'paused')
      assert.deepEqual(await fixed(), before)
      const again = await Sandbox.connect(sandbox.sandboxId)
      assert.deepEqual(await fixed(), before)
      assert.deepEqual([again.envdAccessToken, again.trafficAccessToken], [sandbox.envdAccessToken, sandbox.trafficAccessToken])
    }
  })
})

describe('the requests by hand', { concurrency: 3 }, () => {
  const pause = (sandbox, body) => api('POST', `/sandboxes/${sandbox.sandboxId}/pause`, body)

  test('pauses at once all succeed, a later one does not', async () => {
    const sandbox = await create()
    await fill(sandbox, 256)
    for (let tries = 1; ; tries++) {
      const all = await Promise.all(Array.from({ length: 5 }, () => pause(sandbox)))
      for (const { status } of all) assert.ok([204, 409].includes(status), String(status))
      if (all.every((a) => a.status === 204)) break
      assert.ok(tries < 10, 'each time one came after the end of the first')
      await sandbox.connect()
    }
    const second = await pause(sandbox)
    assert.deepEqual([second.status, second.body.message], [409, `Error pausing sandbox - sandbox '${sandbox.sandboxId}' is already paused`])
    assert.equal((await api('POST', '/sandboxes/not-found/pause')).status, 404)
  })

  test('resumes at once make one sandbox, and each answer means that it can be used', async () => {
    const sandbox = await create()
    const path = `/sandboxes/${sandbox.sandboxId}/resume`
    assert.equal((await api('POST', path, { timeout: 60 })).status, 409)
    await sandbox.pause()
    const seen = await Promise.all(Array.from({ length: 5 }, async () => {
      const { status } = await api('POST', path, { timeout: 60 })
      const health = await get(sandbox, 49983, '/health', { headers: { 'X-Access-Token': sandbox.envdAccessToken } })
      return [status, health.status]
    }))
    assert.ok(seen.some(([status]) => status === 201))
    for (const [status, health] of seen) {
      assert.ok(status === 201 || status === 409, `${status}`)
      assert.equal(health, 204)
    }
    await sandbox.kill()
    assert.equal((await api('POST', path, { timeout: 60 })).status, 404)
    const unknown = await api('POST', '/sandboxes/inotthere00000000000a-6532622b/resume', { timeout: 60 })
    assert.equal(unknown.status, 404)
    assert.match(unknown.body.message, /doesn't exist or you don't have access to it/)
  })

  test('a pause keeps the memory unless told otherwise', async () => {
    const sandbox = await create()
    const boot = await bootID(sandbox)
    const empty = { 'X-API-Key': process.env.E2B_API_KEY, 'Content-Type': 'application/json' }
    const url = `${process.env.E2B_API_URL}/sandboxes/${sandbox.sandboxId}/pause`
    for (const say of [() => pause(sandbox), () => pause(sandbox, {}), () => pause(sandbox, { memory: true }), () => fetch(url, { method: 'POST', headers: empty })]) {
      assert.equal((await say()).status, 204)
      await sandbox.connect()
      assert.equal(await bootID(sandbox), boot)
    }
    assert.equal((await pause(sandbox, { memory: false })).status, 204)
    await sandbox.connect()
    assert.notEqual(await bootID(sandbox), boot)
  })

  test('a connect without a body gives a paused sandbox five minutes and a running one what it has', async () => {
    const sandbox = await create({ timeoutMs: 3600_000 })
    const connect = (body) => api('POST', `/v2/sandboxes/${sandbox.sandboxId}/connect`, body)
    const before = (await sandbox.getInfo()).endAt
    for (const body of [undefined, {}]) {
      assert.equal((await connect(body)).status, 200)
      assert.equal((await sandbox.getInfo()).endAt.getTime(), before.getTime())
      await sandbox.pause()
      assert.equal((await connect(body)).status, 201)
      assert.ok(Math.abs((await sandbox.getInfo()).endAt - Date.now() - 300_000) < 10_000)
      await sandbox.setTimeout(before - Date.now())
      before.setTime((await sandbox.getInfo()).endAt.getTime())
    }
    const boot = await bootID(sandbox)
    await sandbox.pause()
    assert.equal((await connect({ memory: false })).status, 201)
    assert.notEqual(await bootID(sandbox), boot)
    assert.equal((await connect({ timeout: 72 * 3600 })).status, 400)
    assert.equal((await api('POST', '/v2/sandboxes/inotthere00000000000a/connect', {})).status, 404)
  })

  test('kills that come during a pause wait for it and all succeed', async () => {
    const sandbox = await create()
    await fill(sandbox, 256)
    const path = `/sandboxes/${sandbox.sandboxId}`
    const paused = pause(sandbox)
    await eventually(async () => (await stateOf(sandbox)) === 'paused', 'the pause has begun')
    const kills = await Promise.all(Array.from({ length: 3 }, () => api('DELETE', path)))
    assert.deepEqual(kills.map((k) => k.status), [204, 204, 204])
    assert.equal((await paused).status, 204)
    assert.deepEqual([(await api('GET', path)).status, (await api('DELETE', path)).status], [404, 404])
  })

  test('a connect that asks for a reboot never joins a resume with memory', async () => {
    const sandbox = await create()
    const boot = await bootID(sandbox)
    await fill(sandbox, 128)
    await sandbox.pause()
    const connect = (body) => api('POST', `/sandboxes/${sandbox.sandboxId}/connect`, { timeout: 60, ...body })
    const [first, second] = await Promise.all([connect({}), connect({ memory: false })])
    const rebooted = (await bootID(sandbox)) !== boot
    const joined = [first, second].map((a) => [a.status, a.body.error_code].filter(Boolean).join(' '))
    // The reboot may come second and find the other under way or done, or come first and be joined.
    const allowed = rebooted ? ['200,201', '201,201'] : ['201,409 sandbox_start_in_flight', '201,200']
    assert.ok(allowed.includes(joined.join()), joined.join())
  })

  test('a paused sandbox takes neither a time nor a network', async () => {
    const sandbox = await create()
    await sandbox.pause()
    for (const [method, suffix, body] of [['POST', 'timeout', { timeout: 60 }], ['POST', 'refreshes', { duration: 60 }], ['PUT', 'network', {}]]) {
      assert.equal((await api(method, `/sandboxes/${sandbox.sandboxId}/${suffix}`, body)).status, 404, suffix)
    }
    assert.equal(await stateOf(sandbox), 'paused')
  })

  test('a time-out that is set during a pause neither breaks nor undoes it', async () => {
    const sandbox = await create()
    await fill(sandbox, 256)
    const hash = (await sandbox.commands.run('head -c 20000000 /dev/urandom > /dev/shm/big && sha256sum /dev/shm/big')).stdout
    let pausing = true
    const paused = pause(sandbox).finally(() => { pausing = false })
    const seen = new Set()
    while (pausing) {
      for (const timeout of [600, 0]) seen.add((await api('POST', `/sandboxes/${sandbox.sandboxId}/timeout`, { timeout: seen.has(409) ? timeout : 600 })).status)
    }
    assert.equal((await paused).status, 204)
    assert.ok(seen.has(409), `no request fell into the pause: ${[...seen]}`)
    seen.delete(204) // before the pause
    seen.delete(404) // after the pause
    assert.deepEqual([...seen], [409])
    assert.equal(await stateOf(sandbox), 'paused')
    await sandbox.connect({ timeoutMs: 60_000 })
    assert.equal((await sandbox.commands.run('sha256sum /dev/shm/big')).stdout, hash)
    const info = await sandbox.getInfo()
    assert.ok(Math.abs(info.endAt - info.startedAt - 60_000) < 1000)
  })

  test('time-outs that keep only the disk can be repeated', async () => {
    const sandbox = await create({ lifecycle: { onTimeout: { action: 'pause', keepMemory: false } } })
    const boots = new Set()
    for (let round = 0; round < 3; round++) {
      boots.add(await bootID(sandbox))
      await sandbox.files.write(`round-${round}`, 'on disk')
      await sandbox.commands.run('touch /dev/shm/gone')
      await sandbox.setTimeout(0)
      await eventually(async () => (await stateOf(sandbox)) === 'paused', 'its time-out pauses it')
      assert.deepEqual((await sandbox.getInfo()).lifecycle, { autoResume: false, onTimeout: 'pause' })
      const again = await Sandbox.connect(sandbox.sandboxId)
      assert.equal(again.envdAccessToken, sandbox.envdAccessToken)
      assert.equal((await get(sandbox, 49983, '/metrics')).status, 401)
      const said = await sandbox.commands.run('whoami; pwd; ls round-*; ls /dev/shm')
      assert.equal(said.stdout, ['user', '/home/user', ...Array.from({ length: round + 1 }, (_, i) => `round-${i}`), ''].join('\n'))
    }
    boots.add(await bootID(sandbox))
    assert.equal(boots.size, 4)
  })
})
