// Commands, terminals and git.
import assert from 'node:assert/strict'
import { eventually, feature, isError, needs, ours, output, sleeper, sleeps } from './client.mjs'

feature('Commands: run', async () => {
  const { stdout, stderr, exitCode } = await (await ours()).commands.run('echo out; echo err >&2')
  assert.deepEqual([stdout, stderr, exitCode], ['out\n', 'err\n', 0])
})
feature('Commands: user, directory, environment', async () => {
  const options = { user: 'root', cwd: '/etc', envs: { LEVEL: 'command' } }
  assert.equal(await output(await ours(), 'id -u; pwd; echo $LEVEL', options), '0\n/etc\ncommand\n')
})
feature('Commands: exit status', async () => {
  await assert.rejects((await ours()).commands.run('echo out; exit 3'),
    (error) => isError('CommandExitError')(error) && error.exitCode === 3 && error.stdout === 'out\n')
})
feature('Commands: output as it comes', async () => {
  const times = []
  await (await ours()).commands.run('for i in 1 2 3; do echo $i; sleep 0.3; done', { onStdout: () => { times.push(Date.now()) } })
  assert.ok(times.at(-1) - times[0] > 400, 'it came at once')
})
feature('Commands: time limit', async () => {
  await assert.rejects((await ours()).commands.run('sleep 30', { timeoutMs: 1000 }), isError('TimeoutError'))
})
feature('Commands: background, list, connect, kill', async () => {
  const sandbox = await ours()
  const { pid } = await sleeper(sandbox)
  assert.ok(await sleeps(sandbox, pid))
  const again = await sandbox.commands.connect(pid, { timeoutMs: 0 })
  assert.equal(await sandbox.commands.kill(pid), true)
  await assert.rejects(again.wait(), isError('CommandExitError'))
  assert.equal(await sandbox.commands.kill(pid), false)
})
feature('Commands: input', async () => {
  const sandbox = await ours()
  const handle = await sandbox.commands.run('read line; echo got $line', { background: true, stdin: true })
  await sandbox.commands.sendStdin(handle.pid, 'word\n')
  assert.equal((await handle.wait()).stdout, 'got word\n')
})
feature('Commands: end of the input', async () => {
  const sandbox = await ours()
  needs(sandbox.commands.closeStdin)
  const handle = await sandbox.commands.run('wc -c', { background: true, stdin: true })
  await sandbox.commands.sendStdin(handle.pid, '12345')
  await sandbox.commands.closeStdin(handle.pid)
  assert.equal((await handle.wait()).stdout.trim(), '5')
})
feature('Commands: terminal', async () => {
  const sandbox = await ours()
  let seen = ''
  const terminal = await sandbox.pty.create({ cols: 80, rows: 24, timeoutMs: 0, onData: (data) => { seen += new TextDecoder().decode(data) } })
  await sandbox.pty.resize(terminal.pid, { cols: 100, rows: 30 })
  await sandbox.pty.sendInput(terminal.pid, new TextEncoder().encode('stty size\n'))
  await eventually(() => seen.includes('30 100'), 'the terminal tells its size')
  assert.equal(await sandbox.pty.kill(terminal.pid), true)
})
feature('Commands: git', async () => {
  const sandbox = await ours()
  needs(sandbox.git)
  await sandbox.git.init('/tmp/repository')
  await sandbox.files.write('/tmp/repository/a.txt', 'a')
  assert.equal((await sandbox.git.status('/tmp/repository')).fileStatus.length, 1)
})
