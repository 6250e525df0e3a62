// The lives of sandboxes.
import assert from 'node:assert/strict'
import { Sandbox, create, eventually, feature, made, metadata, minutes, needs, ours, output, sleeper, sleeps } from './client.mjs'

/** All sandboxes that the query finds: releases of 1.x answer with a list, later ones with pages. */
async function list(query) {
  const answer = await Sandbox.list({ query })
  if (Array.isArray(answer)) return answer
  const found = []
  while (answer.hasNext) found.push(...await answer.nextItems())
  return found
}

feature('Lifecycle: create', async () => {
  assert.equal(await output(await ours(), 'echo $GREETING'), 'hello\n')
})
feature('Lifecycle: information', async () => {
  const sandbox = await ours()
  needs(sandbox.getInfo)
  const info = await sandbox.getInfo()
  assert.equal(info.sandboxId, sandbox.sandboxId)
  assert.deepEqual(info.metadata, metadata)
  assert.ok(info.endAt > info.startedAt)
})
feature('Lifecycle: list by metadata', async () => {
  const sandbox = await ours()
  assert.deepEqual((await list({ metadata })).map((s) => s.sandboxId), [sandbox.sandboxId])
})
feature('Lifecycle: set the time-out', async () => {
  const sandbox = await ours()
  needs(sandbox.getInfo)
  await sandbox.setTimeout(60 * minutes)
  assert.ok((await sandbox.getInfo()).endAt - Date.now() > 50 * minutes)
})
feature('Lifecycle: connect', async () => {
  const again = await Sandbox.connect((await ours()).sandboxId)
  assert.equal(await output(again, 'echo again'), 'again\n')
})
feature('Lifecycle: metrics', async () => {
  const sandbox = await ours()
  needs(sandbox.getMetrics)
  const [metrics] = await eventually(async () => { const m = await sandbox.getMetrics(); return m.length && m }, 'metrics are there')
  assert.ok(metrics.memTotal > 0)
})
feature('Lifecycle: kill', async () => {
  const sandbox = await create()
  assert.equal(await sandbox.isRunning(), true)
  await sandbox.kill()
  assert.equal(await sandbox.isRunning(), false)
  assert.equal(await Sandbox.kill(sandbox.sandboxId), false)
})
feature('Lifecycle: end by the time-out', async () => {
  const sandbox = await create({ timeoutMs: 1000 })
  await eventually(async () => !(await sandbox.isRunning()), 'it ends')
})
feature('Lifecycle: pause and connect', async () => {
  needs(Sandbox.prototype.pause)
  const sandbox = await create()
  const { pid } = await sleeper(sandbox)
  await sandbox.files.write('kept.txt', 'kept')
  await sandbox.pause()
  assert.equal((await sandbox.getInfo()).state, 'paused')
  const again = await Sandbox.connect(sandbox.sandboxId)
  assert.equal(await again.files.read('kept.txt'), 'kept')
  assert.ok(await sleeps(again, pid), 'the process is gone')
})
feature('Lifecycle: pause the disk alone', async () => {
  needs(Sandbox.prototype.pause)
  const sandbox = await create()
  const { pid } = await sleeper(sandbox)
  await sandbox.files.write('kept.txt', 'kept')
  await sandbox.pause({ keepMemory: false })
  const again = await Sandbox.connect(sandbox.sandboxId)
  assert.equal(await again.files.read('kept.txt'), 'kept')
  assert.ok(!await sleeps(again, pid), 'the process is there')
})
feature('Lifecycle: pause at the time-out, resume by a request', async () => {
  needs(Sandbox.prototype.pause)
  const sandbox = await create({ timeoutMs: 1000, lifecycle: { onTimeout: 'pause', autoResume: true } })
  await eventually(async () => (await sandbox.getInfo()).state === 'paused', 'it pauses')
  assert.equal(await output(sandbox, 'echo awake'), 'awake\n')
})
feature('Lifecycle: snapshot', async () => {
  needs(Sandbox.prototype.createSnapshot)
  const sandbox = await create()
  await sandbox.files.write('kept.txt', 'kept')
  const { snapshotId } = await sandbox.createSnapshot()
  assert.deepEqual((await sandbox.listSnapshots().nextItems()).map((s) => s.snapshotId), [snapshotId])
  const copy = await create({}, snapshotId)
  assert.equal(await copy.files.read('kept.txt'), 'kept')
  await copy.kill() // a snapshot in use is not deleted
  assert.equal(await Sandbox.deleteSnapshot(snapshotId), true)
})
feature('Lifecycle: fork', async () => {
  needs(Sandbox.prototype.fork)
  const sandbox = await create()
  await sandbox.files.write('kept.txt', 'kept')
  const forks = await sandbox.fork({ count: 2 })
  made.push(...forks.filter((fork) => fork instanceof Sandbox))
  assert.deepEqual(await Promise.all(forks.map((fork) => fork.files.read('kept.txt'))), ['kept', 'kept'])
})
feature('Lifecycle: a port by its host', async () => {
  const sandbox = await ours()
  await sandbox.commands.run('python3 -m http.server 3000 -d /etc', { background: true, timeoutMs: 0 })
  await eventually(async () => (await fetch(`https://${sandbox.getHost(3000)}/hostname`)).ok, 'it serves')
})
feature('Lifecycle: no internet access', async () => {
  const sandbox = await create({ allowInternetAccess: false })
  assert.equal(await output(sandbox, 'curl -s -m 20 http://1.1.1.1; echo $?'), '7\n') // refused at once
  if (sandbox.getInfo) assert.notEqual((await sandbox.getInfo()).allowInternetAccess, true)
})
