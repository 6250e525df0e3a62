// How traffic affects a paused sandbox: it wakes only a sandbox that wants to be woken, and
// only for a caller who could use it.
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { api, create, eventually, fill, get, serveCounter, stateOf } from './sandbox.mjs'

const envdPort = 49983
const wakes = { onTimeout: 'pause', autoResume: true }

function assertNotFound(answer, sandbox) {
  assert.equal(answer.status, 502)
  const { sandboxId, message, code } = JSON.parse(answer.body)
  assert.deepEqual({ sandboxId, message, code }, { sandboxId: sandbox.sandboxId, message: 'The sandbox was not found', code: 502 })
}

/** How many seconds the sandbox has left to live. */
async function secondsLeft(sandbox) {
  return ((await sandbox.getInfo()).endAt - Date.now()) / 1000
}

describe('traffic to a paused sandbox', { concurrency: 3 }, () => {
  test('does not wake one that did not ask for it', async () => {
    const sandbox = await create({ lifecycle: { onTimeout: 'pause' } })
    await serveCounter(sandbox)
    await sandbox.pause()
    assertNotFound(await get(sandbox, 8000), sandbox)
    assertNotFound(await get(sandbox, envdPort, '/health', { headers: { 'X-Access-Token': sandbox.envdAccessToken } }), sandbox)
    assert.equal(await sandbox.isRunning(), false)
    await assert.rejects(sandbox.commands.run('true'))
    assert.equal(await stateOf(sandbox), 'paused')
  })

  test('does not wake one of which only the disk was kept', async () => {
    const sandbox = await create({ lifecycle: wakes })
    await serveCounter(sandbox)
    await sandbox.pause({ keepMemory: false })
    assertNotFound(await get(sandbox, 8000), sandbox)
    assertNotFound(await get(sandbox, envdPort, '/health', { headers: { 'X-Access-Token': sandbox.envdAccessToken } }), sandbox)
    assert.equal(await stateOf(sandbox), 'paused')
    await sandbox.connect()
    assert.equal((await sandbox.commands.run('echo back')).stdout, 'back\n')
    // From here on there is memory to wake it from.
    await sandbox.pause()
    assert.equal((await sandbox.commands.run('echo woken')).stdout, 'woken\n')
  })

  test('gives five minutes if nothing else was said at create', async () => {
    const made = await api('POST', '/v2/sandboxes', { templateID: 'base', autoPause: true, autoResume: { enabled: true } })
    assert.equal(made.status, 201)
    const id = made.body.sandboxID
    try {
      assert.equal((await api('POST', `/sandboxes/${id}/pause`)).status, 204)
      const headers = { 'X-Access-Token': made.body.envdAccessToken }
      assert.equal((await get({ sandboxId: id }, envdPort, '/health', { headers })).status, 204)
      const detail = (await api('GET', `/sandboxes/${id}`)).body
      assert.equal(detail.state, 'running')
      const left = (new Date(detail.endAt) - Date.now()) / 1000
      assert.ok(Math.abs(left - 300) < 30, `${left} s`)
    } finally {
      await api('DELETE', `/sandboxes/${id}`)
    }
  })

  test('gives the time-out of the create, whatever was set later, but five minutes at least', async () => {
    const long = await create({ timeoutMs: 420_000, lifecycle: wakes })
    await long.setTimeout(600_000)
    const short = await create({ timeoutMs: 20_000, lifecycle: wakes })
    for (const [sandbox, seconds] of [[long, 420], [short, 300]]) {
      await sandbox.pause()
      await sandbox.commands.run('true')
      const left = await secondsLeft(sandbox)
      assert.ok(Math.abs(left - seconds) < 30, `${left} s, not about ${seconds}`)
    }
  })

  test('wakes a private port for its token only', async () => {
    const sandbox = await create({ network: { allowPublicTraffic: false }, lifecycle: wakes })
    await serveCounter(sandbox)
    await sandbox.pause()
    for (const headers of [{}, { 'e2b-traffic-access-token': 'wrong' }, { 'X-Access-Token': sandbox.envdAccessToken }]) {
      const refused = await get(sandbox, 8000, '/', { headers })
      assert.equal(refused.status, 403, JSON.stringify(headers))
      assert.equal(JSON.parse(refused.body).sandboxId, sandbox.sandboxId)
      assert.equal(await stateOf(sandbox), 'paused')
    }
    const answer = await get(sandbox, 8000, '/', { headers: { 'e2b-traffic-access-token': sandbox.trafficAccessToken } })
    assert.deepEqual([answer.status, answer.body], [200, '2'])
    assert.equal(await stateOf(sandbox), 'running')
  })

  test('wakes the daemon for its token only', async () => {
    const sandbox = await create({ lifecycle: wakes })
    await sandbox.pause()
    for (const headers of [{}, { 'X-Access-Token': 'wrong' }]) {
      assert.equal((await get(sandbox, envdPort, '/health', { headers })).status, 403, JSON.stringify(headers))
      assert.equal(await stateOf(sandbox), 'paused')
    }
    assert.equal((await get(sandbox, envdPort, '/health', { headers: { 'X-Access-Token': sandbox.envdAccessToken } })).status, 204)
    assert.equal(await stateOf(sandbox), 'running')
  })

  test('is answered if it came while the pause was under way', async () => {
    const sandbox = await create({ timeoutMs: 300_000, lifecycle: wakes })
    await serveCounter(sandbox)
    await fill(sandbox, 256)
    let pausing = true
    const paused = api('POST', `/sandboxes/${sandbox.sandboxId}/pause`).finally(() => { pausing = false })
    // A request that the guest holds when it freezes is cut off, so the first one waits for
    // this.
    await eventually(async () => (await stateOf(sandbox)) === 'paused', 'the pause has begun')
    const answers = []
    while (pausing && answers.length < 100) {
      answers.push(get(sandbox, 8000))
      await sleep(2)
    }
    // Ten more, which find it paused or resuming.
    for (let i = 0; i < 10; i++) answers.push(get(sandbox, 8000))
    assert.equal((await paused).status, 204)
    const all = await Promise.all(answers)
    assert.deepEqual(all.filter((a) => a.status !== 200), [])
    assert.equal(new Set(all.map((a) => a.body)).size, all.length, 'a request was made twice')
    assert.equal(await stateOf(sandbox), 'running')
  })

  test('that waits for its answer when the pause comes does not end the pause', async () => {
    const sandbox = await create({ timeoutMs: 300_000, lifecycle: wakes })
    await serveCounter(sandbox)
    const cut = get(sandbox, 8000, '/slow').then((answer) => answer.status, (err) => err.code)
    await eventually(() => sandbox.files.exists('/tmp/slow-began'), 'the request has reached the server')
    assert.equal(await sandbox.pause(), true)
    assert.notEqual(await Promise.race([cut, sleep(2000)]), 200)
    assert.equal(await stateOf(sandbox), 'paused')
    await sleep(500) // nothing may happen during this time
    assert.equal(await stateOf(sandbox), 'paused')
    assert.ok(Number((await get(sandbox, 8000)).body) > 2)
  })
})

test('a sandbox that keeps only its disk cannot be set to wake for traffic', async () => {
  for (const body of [{ autoPause: true, autoPauseMemory: false, autoResume: { enabled: true } }, { autoPauseMemory: false }]) {
    const refused = await api('POST', '/v2/sandboxes', { templateID: 'base', ...body })
    assert.equal(refused.status, 400, JSON.stringify(refused.body))
    assert.equal(refused.body.code, 400)
  }
})
