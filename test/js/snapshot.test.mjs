import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { Sandbox, SandboxNotFoundError } from 'e2b'
import { api, create, eventually, fill, get, serveCounter, stateOf } from './sandbox.mjs'

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
    // The snapshot outlives its source.
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

  test('two tags of a name lead to two snapshots, until the name is deleted', async () => {
    const sandbox = await create()
    const name = `snap-${randomUUID()}`
    for (const tag of ['v1', 'v2']) {
      await sandbox.files.write('state.txt', tag)
      const snapshot = await sandbox.createSnapshot({ name: `${name}:${tag}` })
      assert.deepEqual(snapshot, { snapshotId: `local-dev-team/${name}:${tag}`, names: [`local-dev-team/${name}`] })
    }
    for (const [ref, text] of [[`${name}:v1`, 'v1'], [`local-dev-team/${name}:v2`, 'v2']]) {
      const copy = await Sandbox.create(ref, { timeoutMs: 60_000 })
      assert.equal(await copy.files.read('state.txt'), text)
      await copy.kill()
    }
    await assert.rejects(Sandbox.create(`${name}:v3`), /tag 'v3' does not exist/)
    await assert.rejects(Sandbox.create(name), /tag 'default' does not exist/)
    const ids = async (query) => (await Sandbox.listSnapshots(query).nextItems()).map((s) => s.snapshotId)
    assert.deepEqual(await ids({ name }), [`local-dev-team/${name}:v2`])
    assert.deepEqual(await ids({ name: `local-dev-team/${name}:v1` }), [`local-dev-team/${name}:v1`])
    assert.deepEqual(await ids({ name: `${name}:v3` }), [])
    assert.deepEqual(await ids({ sandboxId: sandbox.sandboxId }), [`local-dev-team/${name}:v2`])
    assert.equal(await Sandbox.deleteSnapshot(name), true)
    assert.equal(await Sandbox.deleteSnapshot(name), false)
    await assert.rejects(Sandbox.create(`${name}:v1`), /not found/)
  })

  test('a new name that two snapshots take at once leads to one of them', async () => {
    const both = [await create(), await create()]
    const name = `snap-${randomUUID()}`
    await Promise.all(both.map((sandbox, i) => sandbox.files.write('state.txt', `${i}`)))
    const made = await Promise.all(both.map((sandbox) => sandbox.createSnapshot({ name })))
    assert.deepEqual(made.map((s) => s.snapshotId), Array(2).fill(`local-dev-team/${name}:default`))
    const copy = await Sandbox.create(name, { timeoutMs: 60_000 })
    assert.match(await copy.files.read('state.txt'), /^[01]$/)
    await copy.kill()
    assert.equal((await Sandbox.listSnapshots({ name }).nextItems()).length, 1)
    assert.equal(await Sandbox.deleteSnapshot(name), true)
  })

  test('a name can be given to another snapshot while sandboxes are made from it', async () => {
    const sandbox = await create()
    const name = `snap-${randomUUID()}`
    await sandbox.files.write('state.txt', '0')
    await sandbox.createSnapshot({ name })
    let latest = 0
    let done = false
    const maker = async () => {
      while (!done) {
        const from = latest
        const copy = await Sandbox.create(name, { timeoutMs: 60_000 })
        const got = Number(await copy.files.read('state.txt'))
        await copy.kill()
        assert.ok(got >= from && got <= latest + 1, `${got} after ${from} was told`)
      }
    }
    const makers = Promise.all([maker(), maker()])
    for (let n = 1; n <= 5; n++) {
      await sandbox.files.write('state.txt', `${n}`)
      await sandbox.createSnapshot({ name })
      latest = n
    }
    done = true
    await makers
    await Sandbox.deleteSnapshot(name)
  })

  test('lists: by sandbox, by name, by ID, in pages', async () => {
    const [one, two] = [await create(), await create()]
    const first = await one.createSnapshot()
    const second = await one.createSnapshot()
    const other = await two.createSnapshot()
    const ids = async (query) => (await Sandbox.listSnapshots(query).nextItems()).map((s) => s.snapshotId)
    assert.deepEqual(await ids({ sandboxId: one.sandboxId }), [second.snapshotId, first.snapshotId])
    assert.deepEqual(await ids({ sandboxId: two.sandboxId }), [other.snapshotId])
    assert.deepEqual(await ids({ sandboxId: 'inotthere00000000000a' }), [])
    assert.deepEqual(await ids({ name: 'no-such-name' }), [])
    assert.deepEqual(await ids({ name: first.snapshotId }), [first.snapshotId])
    assert.deepEqual(await ids({ name: first.snapshotId.split(':')[0] }), [first.snapshotId])
    const pages = Sandbox.listSnapshots({ sandboxId: one.sandboxId, limit: 1 })
    const seen = []
    while (pages.hasNext) {
      const page = await pages.nextItems()
      assert.equal(page.length, 1)
      seen.push(page[0].snapshotId)
    }
    assert.deepEqual(seen, [second.snapshotId, first.snapshotId])
    for (const { snapshotId } of [first, second, other]) assert.equal(await Sandbox.deleteSnapshot(snapshotId), true)
    assert.deepEqual(await ids({ sandboxId: one.sandboxId }), [])
  })

  test('other requests during a snapshot wait or are refused', async () => {
    for (const [method, suffix, gone] of [['POST', '/pause', false], ['DELETE', '', true]]) {
      const sandbox = await create()
      await sandbox.files.write('/dev/shm/mark', 'in memory')
      await fill(sandbox, 256)
      const path = `/sandboxes/${sandbox.sandboxId}`
      const making = api('POST', `${path}/snapshots`, {})
      await eventually(async () => {
        const resume = await api('POST', `${path}/resume`, { timeout: 60 })
        assert.equal(resume.status, 409)
        return resume.body.message === `Sandbox snapshot is currently being created for sandbox '${sandbox.sandboxId}'`
      }, 'the snapshot has begun')
      const [detail, second, fork, timeout, last] = await Promise.all([
        api('GET', path), api('POST', `${path}/snapshots`, {}), api('POST', `${path}/fork`, {}),
        api('POST', `${path}/timeout`, { timeout: 100 }), api(method, path + suffix),
      ])
      assert.equal(detail.body.state, 'running')
      assert.deepEqual([second.status, second.body.message], [409, `Sandbox '${sandbox.sandboxId}' cannot be snapshotted while in 'snapshotting' state`])
      assert.deepEqual([fork.status, timeout.status, last.status], [409, 409, 204])
      const snapshot = await making
      assert.equal(snapshot.status, 201)
      const after = await api('GET', path)
      if (gone) assert.equal(after.status, 404)
      else assert.equal(after.body.state, 'paused')
      const copy = await Sandbox.create(snapshot.body.snapshotID, { timeoutMs: 60_000 })
      assert.equal(await copy.files.read('/dev/shm/mark'), 'in memory')
      await copy.kill()
      assert.equal(await Sandbox.deleteSnapshot(snapshot.body.snapshotID), true)
    }
  })

  test('a chain of snapshots and forks loses nothing', async () => {
    let sandbox = await create()
    const [disk, memory, names] = [[], [], []]
    const grow = async (mark) => {
      disk.push(mark)
      memory.push(mark)
      await sandbox.commands.run(`echo ${mark} >> log; echo ${mark} >> /dev/shm/log`)
    }
    const check = async (s) => assert.equal((await s.commands.run('cat log; echo; cat /dev/shm/log')).stdout, [...disk, '', ...memory, ''].join('\n'))
    for (let generation = 0; generation < 3; generation++) {
      await grow(`snapshot-${generation}`)
      const { snapshotId } = await sandbox.createSnapshot()
      names.push(snapshotId)
      const copy = await Sandbox.create(snapshotId, { timeoutMs: 60_000 })
      await sandbox.kill()
      sandbox = copy
      await check(sandbox)
      await grow(`fork-${generation}`)
      const [fork] = await sandbox.fork({ timeoutMs: 60_000 })
      await sandbox.kill()
      sandbox = fork
      await check(sandbox)
    }
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
    await assert.rejects(sandbox.createSnapshot(), SandboxNotFoundError)
    await sandbox.kill()
    await assert.rejects(sandbox.fork(), SandboxNotFoundError)
    await assert.rejects(sandbox.createSnapshot(), SandboxNotFoundError)
  })

  test('each copy has tokens and memory of its own', async () => {
    const sandbox = await create({ network: { allowPublicTraffic: false } })
    await serveCounter(sandbox)
    const forks = await sandbox.fork({ count: 2, timeoutMs: 60_000 })
    const all = [sandbox, ...forks]
    for (const token of ['envdAccessToken', 'trafficAccessToken']) {
      assert.equal(new Set(all.map((s) => s[token])).size, 3)
      assert.ok(all.every((s) => s[token]))
    }
    const ask = (s, token) => get(s, 8000, '/', { headers: { 'e2b-traffic-access-token': token } })
    for (const [i, s] of all.entries()) {
      const others = all[(i + 1) % 3]
      assert.equal((await ask(s, others.trafficAccessToken)).status, 403)
      assert.equal((await get(s, 49983, '/metrics', { headers: { 'X-Access-Token': others.envdAccessToken } })).status, 401)
      // Each counter continues on its own.
      for (let n = 2; n < 4 + i; n++) assert.equal((await ask(s, s.trafficAccessToken)).body, `${n}`)
    }
    await Promise.all(forks.map((fork) => fork.kill()))
  })

  test('the number of copies is checked, and one that is asked for by default lives for minutes', async () => {
    const sandbox = await create()
    const fork = (body) => api('POST', `/sandboxes/${sandbox.sandboxId}/fork`, body)
    for (const count of [0, -1, 101]) {
      const refused = await fork({ count })
      assert.equal(refused.status, 400, `count ${count}`)
      assert.match(refused.body.message, /count/i)
    }
    const made = await fork({})
    assert.equal(made.status, 201)
    assert.equal(made.body.length, 1)
    const { sandboxID, templateID } = made.body[0].sandbox
    assert.equal(templateID, 'base')
    const detail = (await api('GET', `/sandboxes/${sandboxID}`)).body
    assert.ok(new Date(detail.endAt) - Date.now() > 60_000)
    await api('DELETE', `/sandboxes/${sandboxID}`)
    assert.equal((await api('POST', '/sandboxes/inotthere00000000000a/fork', {})).status, 404)
  })
})
