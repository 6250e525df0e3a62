// What the code interpreter survives: clients that go away, kernels and servers that are
// killed, pauses, and the end of its sandbox.
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { Sandbox, TimeoutError } from '@e2b/code-interpreter'
import { eventually } from '../sandbox.mjs'
import { create, kernels, request, run } from './execution.mjs'

let sandbox
before(async () => { sandbox = await create() })

test('interrupts an execution whose client has gone', async () => {
  await run(sandbox, 'kept = 1')
  await assert.rejects(sandbox.runCode('import time; time.sleep(300)', { timeoutMs: 3000 }), /timed out/)
  const started = Date.now()
  assert.equal((await run(sandbox, 'kept + 1')).text, '2')
  assert.ok(Date.now() - started < 50_000)
  await assert.rejects(sandbox.runCode('while (true) {}', { language: 'js', timeoutMs: 1000 }), /timed out/)
  assert.equal((await run(sandbox, '1 + 1', { language: 'js', timeoutMs: 60_000 })).text, '2')
})

test('keeps the state of a Python context whose code was awaiting', async () => {
  await run(sandbox, 'kept = 2')
  await assert.rejects(sandbox.runCode('import asyncio; await asyncio.sleep(300)', { timeoutMs: 1000 }), /timed out/)
  assert.equal((await run(sandbox, 'kept')).text, '2')
})

test('keeps the state of a JavaScript context whose code was awaiting', async () => {
  const awaits = ['await new Promise(() => {})', 'await new Promise((done) => setTimeout(done, 300_000))', 'for await (const x of (async function* () { yield await new Promise(() => {}) })()) {}']
  for (const language of ['js', 'ts']) {
    await run(sandbox, 'let kept = 3', { language })
    for (const code of awaits) {
      await assert.rejects(sandbox.runCode(`kept++\n${code}`, { language, timeoutMs: 1000 }), /timed out/)
    }
    assert.equal((await run(sandbox, 'kept', { language, timeoutMs: 60_000 })).text, '6', language)
  }
})

test('restores variables after an abandoned execution', async () => {
  const code = 'import os, time; time.sleep(300)'
  await assert.rejects(sandbox.runCode(code, { envs: { MINE: 'x' }, timeoutMs: 1000 }), /timed out/)
  assert.equal((await run(sandbox, 'import os; str(os.getenv("MINE"))')).text, 'None')
})

test('replaces a kernel that ignores interrupts', async () => {
  const deaf = 'import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: time.sleep(1)'
  await assert.rejects(sandbox.runCode(deaf, { timeoutMs: 1000 }), /timed out/)
  assert.equal((await run(sandbox, '1 + 1')).text, '2')
  assert.equal(await kernels(sandbox), 1)
})

test('checks for its client during silence', async () => {
  const answer = await request(sandbox, '/execute?source=ci', { method: 'POST', body: JSON.stringify({ code: 'import time; time.sleep(7.5)\n1', language: null, unknown: 1 }) })
  const lines = (await answer.text()).trim().split('\n').map((line) => JSON.parse(line).type)
  assert.deepEqual(lines, ['number_of_executions', 'keepalive', 'result', 'end_of_execution'])
})

test('survives a killed kernel', async () => {
  const { error } = await sandbox.runCode('import os; os.kill(os.getpid(), 9)')
  assert.deepEqual([error.name, error.value], ['ContextRestarting', 'Context was restarted'])
  assert.equal((await run(sandbox, '1 + 1')).text, '2')
  await sandbox.commands.run('pkill -9 -f [i]pykernel_launcher; sleep 1', { user: 'root' }) // until the server has noticed
  assert.equal((await run(sandbox, '1 + 1')).text, '2')
})

test('survives the end of the process that kernels are forks of', async () => {
  await run(sandbox, 'kept = 3')
  await sandbox.commands.run('pkill -9 -f [f]ork_server.py', { user: 'root' })
  assert.equal((await run(sandbox, 'kept')).text, '3')
  const context = await sandbox.createCodeContext({ cwd: '/tmp' })
  assert.equal((await run(sandbox, 'import os; os.getcwd()', { context })).text, '/tmp')
  await sandbox.removeCodeContext(context)
  await assert.rejects(sandbox.createCodeContext({ cwd: '/nowhere' }), /500/)
  const bash = await run(sandbox, 'echo $((1 + 1))', { language: 'bash' })
  assert.deepEqual(bash.logs.stdout, ['2\n'])
})

for (const pattern of ['jupyter server', 'uvicorn main:app']) {
  test(`heals after kill -9 $(pgrep -f '${pattern}')`, async () => {
    const server = `pgrep -f '[/]python .*${pattern}'` // but not the shell that runs pgrep
    const { stdout: old } = await sandbox.commands.run(server, { user: 'root' })
    assert.match(old, /^\d+\n$/, 'one process is the server')
    await run(sandbox, 'lost = 1')
    await sandbox.commands.run(`kill -9 $(pgrep -f '${pattern}')`, { user: 'root' }).catch(() => {})
    await eventually(async () => {
      const { stdout } = await sandbox.commands.run(`${server} || true`, { user: 'root' })
      return stdout !== '' && stdout !== old
    }, 'another process is the server', 120_000)
    const health = 'curl -s -o /dev/null -w "%{http_code}" http://localhost:49999/health || true'
    await eventually(async () => (await sandbox.commands.run(health)).stdout === '200', 'the server is back', 120_000)
    assert.equal((await run(sandbox, '1 + 1')).text, '2')
    assert.equal((await sandbox.runCode('lost')).error.name, 'NameError')
    assert.equal(await kernels(sandbox), 1)
  })
}

test('goes on after a pause, and after a connect', async () => {
  await run(sandbox, 'kept = "yes"')
  await sandbox.pause()
  const again = await Sandbox.connect(sandbox.sandboxId)
  assert.equal((await run(again, 'kept')).text, 'yes')
})

test('says that the sandbox was killed during an execution', async () => {
  const own = await create()
  let begun
  const first = new Promise((resolve) => { begun = resolve })
  const running = assert.rejects(own.runCode('print("begun", flush=True)\nimport time; time.sleep(60)', { onStdout: begun }), (error) => {
    assert.ok(error instanceof TimeoutError, String(error))
    assert.match(error.message, /sandbox was killed while the request was in progress/)
    return true
  })
  await first
  await own.kill()
  await running
})
