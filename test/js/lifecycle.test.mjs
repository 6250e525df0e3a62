import { before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { AuthenticationError, Sandbox, SandboxError, SandboxNotFoundError, Template } from 'e2b'
import { create, eventually } from './sandbox.mjs'

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
    await assert.rejects(Sandbox.setTimeout(sandbox.sandboxId, 10_000), SandboxNotFoundError)
  })

  test('connect keeps the longer time-out', async () => {
    const sandbox = await create({ timeoutMs: 300_000 })
    const before = await sandbox.getInfo()
    const again = await Sandbox.connect(sandbox.sandboxId, { timeoutMs: 10_000 })
    assert.equal((await again.commands.run('echo same')).stdout, 'same\n')
    assert.equal((await again.getInfo()).endAt.getTime(), before.endAt.getTime())
    await assert.rejects(Sandbox.connect('inotthere00000000000a'), SandboxNotFoundError)
  })

  test('metrics arrive', async () => {
    const sandbox = await create()
    const metrics = await eventually(async () => {
      const list = await sandbox.getMetrics()
      return list.length > 0 && list
    }, 'a first sample', 15_000)
    for (const field of ['cpuCount', 'memTotal', 'memUsed', 'diskTotal', 'diskUsed']) {
      assert.ok(metrics.at(-1)[field] > 0, `${field} is ${metrics.at(-1)[field]}`)
    }
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
