// Contexts of the code interpreter: they are isolated from each other, and stay whole under
// concurrent requests. Every test runs in an open sandbox and in one whose traffic is
// private.
import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { create, kernels, pause, request, run } from './execution.mjs'

const sandboxes = { 'an open sandbox': {}, 'a private sandbox': { secure: true, network: { allowPublicTraffic: false } } }

for (const [name, opts] of Object.entries(sandboxes)) {
  describe(`contexts of ${name}`, () => {
    let sandbox
    before(async () => { sandbox = await create({ ...opts, envs: { FROM_SANDBOX: 'sandbox' } }) })

    test('has state and variables', async () => {
      assert.equal((await run(sandbox, 'x =1; x')).text, '1')
      const again = await run(sandbox, 'x += 1; x')
      assert.equal(again.text, '2')
      assert.equal(again.executionCount, 2)
      assert.equal((await run(sandbox, 'import os; os.environ["FROM_SANDBOX"]')).text, 'sandbox')
    })

    test('has contexts for Python and JavaScript', async () => {
      assert.deepEqual((await sandbox.listCodeContexts()).map((c) => c.language), ['python', 'javascript'])
    })

    test('makes contexts and removes them', async () => {
      const plain = await sandbox.createCodeContext()
      assert.deepEqual([plain.language, plain.cwd], ['python', '/home/user'])
      assert.deepEqual((await sandbox.listCodeContexts()).at(-1), plain)
      const root = await sandbox.createCodeContext({ cwd: '/root' })
      assert.deepEqual([root.language, root.cwd], ['python', '/root'])
      assert.deepEqual((await sandbox.listCodeContexts()).at(-1), root)
      assert.equal((await run(sandbox, 'import os; os.getcwd()', { context: root })).text, '/root')
      await sandbox.removeCodeContext(root)
      await sandbox.removeCodeContext(plain.id)
      assert.equal((await sandbox.listCodeContexts()).length, 2)
      await assert.rejects(sandbox.runCode('1', { context: root }), new RegExp(`Context ${root.id} not found`))
      await assert.rejects(sandbox.removeCodeContext(root), /not found/)
      await assert.rejects(sandbox.restartCodeContext(root), /not found/)
    })

    test('keeps them apart, and clears one by a restart', async () => {
      const context = await sandbox.createCodeContext({ language: ' PYTHON ' })
      await run(sandbox, 'only = 1', { context })
      assert.equal((await sandbox.runCode('only')).error.value, "name 'only' is not defined")
      await sandbox.restartCodeContext(context)
      const { error } = await sandbox.runCode('only', { context })
      assert.deepEqual([error.name, error.value], ['NameError', "name 'only' is not defined"])
      assert.equal((await run(sandbox, 'import os; os.environ["FROM_SANDBOX"]', { context })).text, 'sandbox')
      await sandbox.removeCodeContext(context)
    })

    test('wants a context or a language, not both', async () => {
      const [context] = await sandbox.listCodeContexts()
      await assert.rejects(sandbox.runCode('1', { context, language: 'python' }))
    })
  })
}

describe('a context whose life changes while it runs', () => {
  let sandbox, before_
  before(async () => {
    sandbox = await create()
    before_ = await kernels(sandbox)
  })
  const asleep = 'print("asleep", flush=True)\nimport time; time.sleep(300)'

  /** Starts code and resolves when it runs, with a function that awaits its end. */
  async function started(context, code = asleep) {
    let end
    await new Promise((resolve, reject) => {
      end = sandbox.runCode(code, { context, timeoutMs: 60_000, onStdout: resolve })
      end.catch(reject)
    })
    return () => end
  }

  test('restarts', async () => {
    const context = await sandbox.createCodeContext()
    const end = await started(context)
    const waits = sandbox.runCode('1 + 1', { context })
    await sandbox.restartCodeContext(context)
    assert.deepEqual([(await end()).error.name, (await end()).error.value], ['ContextRestarting', 'Context was restarted'])
    assert.equal((await waits).text, '2')
    await sandbox.removeCodeContext(context)
    assert.equal(await kernels(sandbox), before_)
  })

  test('can be restarted many times at once', async () => {
    const context = await sandbox.createCodeContext()
    const end = await started(context)
    await Promise.all(Array.from({ length: 4 }, () => sandbox.restartCodeContext(context)))
    assert.equal((await end()).error.name, 'ContextRestarting')
    assert.equal((await run(sandbox, '1 + 1', { context })).text, '2')
    assert.equal(await kernels(sandbox), before_ + 1)
    await sandbox.removeCodeContext(context)
  })

  test('is removed', async () => {
    const context = await sandbox.createCodeContext()
    const end = await started(context)
    const waits = sandbox.runCode('1 + 1', { context })
    waits.catch(() => {})
    await pause(1500) // the second request has reached the server
    await sandbox.removeCodeContext(context)
    assert.equal((await end()).error.name, 'UnexpectedEndOfExecution')
    assert.equal((await waits).error.name, 'UnexpectedEndOfExecution')
    assert.equal(await kernels(sandbox), before_)
  })

  test('is removed and restarted at once', async () => {
    const context = await sandbox.createCodeContext()
    const end = await started(context)
    const answers = await Promise.all([
      request(sandbox, `/contexts/${context.id}/restart`, { method: 'POST' }), request(sandbox, `/contexts/${context.id}`, { method: 'DELETE' }),
      request(sandbox, `/contexts/${context.id}/restart`, { method: 'POST' }), request(sandbox, `/contexts/${context.id}`, { method: 'DELETE' })])
    assert.equal(answers.filter((a) => a.status === 200 && a.url.endsWith(context.id)).length, 1)
    for (const answer of answers) assert.ok([200, 404, 500].includes(answer.status), String(answer.status))
    assert.ok((await end()).error)
    assert.equal(await kernels(sandbox), before_)
  })

  test('survives losing its client during a restart', async () => {
    const context = await sandbox.createCodeContext()
    await run(sandbox, 'kept = 1', { context })
    let error
    for (let wait = 50; error?.name !== 'NameError' && wait < 10_000; wait *= 5) { // a request that never arrived does not restart it
      const giveUp = new AbortController()
      const restart = request(sandbox, `/contexts/${context.id}/restart`, { method: 'POST', signal: giveUp.signal }).catch(() => {})
      await pause(wait)
      giveUp.abort()
      await restart
      ;({ error } = await sandbox.runCode('kept', { context }))
    }
    assert.equal(error?.name, 'NameError')
    assert.equal(await kernels(sandbox), before_ + 1)
    await sandbox.removeCodeContext(context)
  })

  test('survives losing a client that waits for its turn', async () => {
    const context = await sandbox.createCodeContext()
    const end = await started(context, 'print("begun", flush=True)\nimport time; time.sleep(8); "whole"')
    await assert.rejects(sandbox.runCode('never = 1', { context, timeoutMs: 1000 }), /timed out/)
    assert.equal((await end()).text, 'whole')
    assert.equal((await sandbox.runCode('never', { context })).error.name, 'NameError')
    await sandbox.removeCodeContext(context)
  })

  test('cannot be restarted if its directory is gone', async () => {
    await sandbox.commands.run('mkdir /tmp/gone')
    const context = await sandbox.createCodeContext({ cwd: '/tmp/gone' })
    await sandbox.commands.run('rmdir /tmp/gone')
    const answer = await request(sandbox, `/contexts/${context.id}/restart`, { method: 'POST' })
    assert.deepEqual([answer.status, await answer.text()], [500, `Failed to restart context ${context.id}`])
    await sandbox.commands.run('mkdir /tmp/gone')
    assert.equal((await run(sandbox, 'import os; os.getcwd()', { context })).text, '/tmp/gone')
    await sandbox.removeCodeContext(context)
    assert.equal((await request(sandbox, '/contexts', { method: 'POST', body: '{"cwd": "/not/there"}' })).status, 500)
    assert.equal(await kernels(sandbox), before_)
  })
})
