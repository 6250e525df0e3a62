import { before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { CommandExitError, TimeoutError, NotFoundError } from 'e2b'
import { create, eventually } from './sandbox.mjs'

describe('commands', () => {
  let sandbox
  before(async () => { sandbox = await create({ envs: { SANDBOX_LEVEL: 'yes' } }) })

  test('the first program of the README', async () => {
    const result = await sandbox.commands.run('python3 -c "print(6*7)"')
    assert.equal(result.stdout, '42\n')
    assert.equal(result.exitCode, 0)
  })

  for (const text of ['hello', '!@#$%^&*()_+', 'two\nlines', 'żółć 🐟']) {
    test(`echo ${JSON.stringify(text)}`, async () => {
      const result = await sandbox.commands.run(`cat <<'EOF'\n${text}\nEOF`)
      assert.equal(result.stdout, text + '\n')
    })
  }

  test('a failure carries exit code and both outputs', async () => {
    await assert.rejects(sandbox.commands.run('echo out; echo err >&2; exit 3'), (err) => {
      assert.ok(err instanceof CommandExitError)
      assert.equal(err.exitCode, 3)
      assert.equal(err.stdout, 'out\n')
      assert.equal(err.stderr, 'err\n')
      return true
    })
  })

  test('runs as user in its home by default', async () => {
    const result = await sandbox.commands.run('whoami; pwd; echo $HOME $SHELL; sudo whoami; ulimit -Sn')
    assert.equal(result.stdout, 'user\n/home/user\n/home/user /bin/bash\nroot\n65536\n')
  })

  test('user, cwd and environment of one command', async () => {
    const result = await sandbox.commands.run('whoami; pwd; echo $ONE $SANDBOX_LEVEL', { user: 'root', cwd: '/tmp', envs: { ONE: '1' } })
    assert.equal(result.stdout, 'root\n/tmp\n1 yes\n')
    const next = await sandbox.commands.run('echo "[$ONE]"')
    assert.equal(next.stdout, '[]\n')
  })

  test('a working directory that does not exist is refused', async () => {
    await assert.rejects(sandbox.commands.run('true', { cwd: '/no/such/place' }), /cwd|no\/such|not exist/i)
  })

  test('the tools that users expect are installed', async () => {
    const result = await sandbox.commands.run('for c in bash python python3 pip git curl ss node npm ps sudo tput findmnt; do command -v $c >/dev/null || echo missing $c; done')
    assert.equal(result.stdout, '')
  })

  test('output arrives while the command runs', async () => {
    let out = ''
    // The command ends once its first line has been seen.
    await sandbox.commands.run('echo 1; until [ -e heard ]; do sleep 0.05; done; echo 2', {
      onStdout: async (data) => { out += data; if (data === '1\n') await sandbox.files.write('heard', '') },
    })
    assert.equal(out, '1\n2\n')
  })

  test('a time-out ends the command', async () => {
    await assert.rejects(sandbox.commands.run('sleep 30', { timeoutMs: 500 }), TimeoutError)
    await eventually(async () => (await sandbox.commands.list()).length === 0, 'the process is gone')
  })

  test('background: list, connect, kill', async () => {
    const handle = await sandbox.commands.run('sleep 60', { background: true })
    const listed = await sandbox.commands.list()
    assert.ok(listed.some((p) => p.pid === handle.pid))
    const again = await sandbox.commands.connect(handle.pid)
    assert.equal(again.pid, handle.pid)
    assert.equal(await sandbox.commands.kill(handle.pid), true)
    await assert.rejects(handle.wait(), CommandExitError)
    const probe = await sandbox.commands.run(`kill -0 ${handle.pid}`).catch((err) => err)
    assert.notEqual(probe.exitCode, 0)
    assert.equal(await sandbox.commands.kill(handle.pid), false)
    await assert.rejects(sandbox.commands.connect(999999), NotFoundError)
  })

  test('stdin', async () => {
    for (const text of ['plain', '', 'a\nb', '"quoted" $HOME']) {
      let out = ''
      const handle = await sandbox.commands.run('cat', { background: true, stdin: true, onStdout: (data) => { out += data } })
      await sandbox.commands.sendStdin(handle.pid, text)
      await sandbox.commands.closeStdin(handle.pid)
      const result = await handle.wait()
      assert.equal(result.exitCode, 0)
      assert.equal(result.stdout, text)
    }
  })

  test('without stdin a read fails at once', async () => {
    await assert.rejects(sandbox.commands.run('read line'), CommandExitError)
  })

  test('many at once', async () => {
    const results = await Promise.all(Array.from({ length: 20 }, (_, i) => sandbox.commands.run(`echo ${i}`)))
    assert.deepEqual(results.map((r) => r.stdout), Array.from({ length: 20 }, (_, i) => `${i}\n`))
  })

  test('a user can serve a file system of its own', async () => {
    // Mounting takes root or, as here, a user namespace; opening the device does not.
    await sandbox.files.write('/tmp/fuse.py', `
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir("/tmp/mounted")
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
if libc.mount(b"fuse", b"/tmp/mounted", b"fuse", 0, options.encode()):
    raise OSError(ctypes.get_errno(), "mount")
init = 26 # the kernel's first request
print(int.from_bytes(os.read(device, 65536)[4:8], "little") == init)
`)
    assert.equal((await sandbox.commands.run(`python3 -c 'import os; os.open("/dev/fuse", os.O_RDWR)' && unshare -rm python3 /tmp/fuse.py`)).stdout, 'True\n')
  })

  test('a megabyte of output is complete', async () => {
    const result = await sandbox.commands.run('head -c 1000000 /dev/zero | tr "\\0" x')
    assert.equal(result.stdout.length, 1_000_000)
  })
})

describe('terminals', () => {
  let sandbox
  before(async () => { sandbox = await create() })

  test('size, environment, resize and exit', async () => {
    let out = ''
    const decoder = new TextDecoder()
    const pty = await sandbox.pty.create({ cols: 100, rows: 30, envs: { ABC: 'from-env' }, onData: (data) => { out += decoder.decode(data, { stream: true }) } })
    const type = (text) => sandbox.pty.sendInput(pty.pid, new TextEncoder().encode(text))
    await type('echo "<$ABC>"; echo "cols=$(tput cols)"\n')
    await eventually(() => out.includes('<from-env>') && out.includes('cols=100'), 'environment and size')
    await sandbox.pty.resize(pty.pid, { cols: 77, rows: 20 })
    await type('echo "now=$(tput cols)"\n')
    await eventually(() => out.includes('now=77'), 'the new size')
    await type('exit\n')
    assert.equal((await pty.wait()).exitCode, 0)
  })

  test('disconnect and connect again', async () => {
    const pty = await sandbox.pty.create({ cols: 80, rows: 24, onData: () => {} })
    await pty.disconnect()
    let out = ''
    const again = await sandbox.pty.connect(pty.pid, { onData: (data) => { out += new TextDecoder().decode(data) } })
    await sandbox.pty.sendInput(again.pid, new TextEncoder().encode('echo re-attached; exit\n'))
    assert.equal((await again.wait()).exitCode, 0)
    assert.match(out, /re-attached/)
  })

  test('kill', async () => {
    const pty = await sandbox.pty.create({ cols: 80, rows: 24, onData: () => {} })
    assert.equal(await sandbox.pty.kill(pty.pid), true)
    await assert.rejects(pty.wait())
    assert.equal(await sandbox.pty.kill(pty.pid), false)
  })
})
