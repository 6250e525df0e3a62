import { before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { AuthenticationError, Sandbox, SandboxError, SandboxNotFoundError, Template } from 'e2b'
import { api, create, eventually } from './sandbox.mjs'

async function all(paginator) {
  const list = []
  while (paginator.hasNext) list.push(...await paginator.nextItems())
  return list
}

describe('lifecycle', () => {
  test('create, info, list by metadata, kill', async () => {
    const mark = `mark ${Math.random()} & = ? ż`
    const sandbox = await create({ metadata: { mark }, timeoutMs: 90_000 })
    const info = await sandbox.getInfo()
    assert.equal(info.templateId, 'base')
    assert.equal(info.state, 'running')
    assert.deepEqual(info.metadata, { mark })
    assert.ok(Math.abs(info.endAt - info.startedAt - 90_000) < 1000)
    const found = await all(Sandbox.list({ query: { metadata: { mark } } }))
    assert.deepEqual(found.map((s) => s.sandboxId), [sandbox.sandboxId])
    assert.deepEqual(await all(Sandbox.list({ query: { metadata: { mark: 'other' } } })), [])
    assert.equal(await sandbox.isRunning(), true)
    assert.equal(await sandbox.kill(), true)
    assert.equal(await sandbox.kill(), false)
    assert.equal(await sandbox.isRunning(), false)
    await assert.rejects(Sandbox.getInfo(sandbox.sandboxId), SandboxNotFoundError)
  })

  test('pages of a list', async () => {
    const page = `page-${Math.random()}`
    const made = []
    for (let i = 0; i < 3; i++) made.unshift((await create({ metadata: { page } })).sandboxId)
    const paginator = Sandbox.list({ query: { metadata: { page } }, limit: 1 })
    const seen = []
    while (paginator.hasNext) {
      const items = await paginator.nextItems()
      assert.equal(items.length, 1)
      seen.push(items[0].sandboxId)
    }
    assert.deepEqual(seen, made)
  })

  test('time-outs shorten, extend and end', async () => {
    const sandbox = await create({ timeoutMs: 60_000 })
    await sandbox.setTimeout(300_000)
    const longer = await sandbox.getInfo()
    assert.ok(longer.endAt - Date.now() > 250_000)
    await sandbox.setTimeout(1_000)
    await eventually(async () => !(await sandbox.isRunning()), 'the sandbox ends at its time-out')
    // Until it is gone it is being killed, and the request is refused for another reason.
    await eventually(() => Sandbox.setTimeout(sandbox.sandboxId, 10_000).then(() => false, (err) => err instanceof SandboxNotFoundError), 'it cannot be found')
  })

  test('connect keeps the longer time-out', async () => {
    const sandbox = await create({ timeoutMs: 300_000 })
    const before = await sandbox.getInfo()
    const again = await Sandbox.connect(sandbox.sandboxId, { timeoutMs: 10_000 })
    assert.equal((await again.commands.run('echo same')).stdout, 'same\n')
    assert.equal((await again.getInfo()).endAt.getTime(), before.endAt.getTime())
    await assert.rejects(Sandbox.connect('inotthere00000000000a'), SandboxNotFoundError)
  })

  test('a refresh only lengthens', async () => {
    const sandbox = await create({ timeoutMs: 60_000 })
    const refresh = (duration, id = sandbox.sandboxId) => api('POST', `/sandboxes/${id}/refreshes`, duration === undefined ? undefined : { duration })
    const endAt = async () => (await sandbox.getInfo()).endAt
    const before = await endAt()
    for (const duration of [0, 30, undefined]) {
      assert.equal((await refresh(duration)).status, 204)
      assert.equal((await endAt()).getTime(), before.getTime())
    }
    await sandbox.setTimeout(12_000)
    for (const [duration, least] of [[0, 15_000], [600, 600_000]]) {
      const from = Date.now()
      assert.equal((await refresh(duration)).status, 204)
      const end = await endAt()
      assert.ok(end - from > least - 1000 && end - Date.now() <= least + 1000, `${end - from} ms`)
    }
    assert.equal((await refresh(3601)).status, 400)
    assert.equal((await refresh(-1)).status, 400)
    assert.equal((await refresh(10, 'inotthere00000000000a')).status, 404)
  })

  test('metrics arrive', async () => {
    const [sandbox, other] = [await create(), await create()]
    await sandbox.commands.run('setsid sh -c "while true; do :; done" > /dev/null 2>&1 &')
    const metrics = await eventually(async () => {
      const list = await sandbox.getMetrics()
      return list.some((m) => m.cpuUsedPct > 0) && list
    }, 'a sample of a busy sandbox')
    for (const field of ['cpuCount', 'cpuUsedPct', 'memTotal', 'memUsed', 'diskTotal', 'diskUsed']) {
      assert.ok(metrics.at(-1)[field] > 0, `${field} is ${metrics.at(-1)[field]}`)
    }
    const { startedAt } = await sandbox.getInfo()
    for (const { timestamp } of metrics) assert.ok(timestamp >= startedAt - 1000 && timestamp <= Date.now() + 1000, `${timestamp}`)
    assert.deepEqual(await sandbox.getMetrics({ start: new Date(Date.now() - 7200_000), end: new Date(Date.now() - 3600_000) }), [])
    const ids = [sandbox, other].map((s) => s.sandboxId)
    const batch = await eventually(async () => {
      const { status, body } = await api('GET', `/sandboxes/metrics?sandbox_ids=${ids}`)
      assert.equal(status, 200)
      return Object.keys(body.sandboxes).length === 2 && body.sandboxes
    }, 'a sample of each')
    assert.deepEqual(Object.keys(batch).sort(), ids.toSorted())
    assert.ok(batch[sandbox.sandboxId].cpuUsedPct > 0)
  })

  test('a sandbox whose MCP gateway does not start is not left behind', async () => {
    const mark = `mcp-${Math.random()}`
    // The base template has no gateway, so the SDK cannot start it.
    await assert.rejects(Sandbox.create('base', { metadata: { mark }, mcp: { duckduckgo: {} } }), (err) => err instanceof SandboxError && /Failed to start MCP gateway/.test(err.message))
    assert.deepEqual(await all(Sandbox.list({ query: { metadata: { mark }, state: ['running'] } })), [])
  })

  test('bad keys, templates and time-outs are refused by name', async () => {
    await assert.rejects(Sandbox.create({ apiKey: 'e2b_0000' }), AuthenticationError)
    await assert.rejects(Sandbox.create('no-such-template'), /template 'no-such-template' not found/)
    await assert.rejects(Sandbox.create({ timeoutMs: 1000 * 3600 * 10_000 }), (err) => err instanceof SandboxError && /Timeout cannot be greater than/.test(err.message))
    assert.equal(await Template.exists('base'), true)
    assert.equal(await Template.exists('no-such-template'), false)
  })

  test('ten sandboxes at once, each its own', async () => {
    const boxes = await Promise.all(Array.from({ length: 10 }, () => create()))
    await Promise.all(boxes.map((box, i) => box.files.write('who', `${i}`)))
    const seen = await Promise.all(boxes.map((box) => box.files.read('who')))
    assert.deepEqual(seen, boxes.map((_, i) => `${i}`))
    assert.equal(new Set(boxes.map((b) => b.sandboxId)).size, 10)
  })

  test('a killed sandbox ends a running command with a time-out error', async () => {
    const sandbox = await create()
    const running = sandbox.commands.run('sleep 60')
    const outcome = assert.rejects(running, /timed? ?out|terminated|not found|end of life/i)
    await eventually(async () => (await sandbox.commands.list()).length === 1, 'the command runs')
    await sandbox.kill()
    await outcome
  })
})
