// Template builds, as programs make them with the SDK.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { BuildError, Sandbox, Template, waitForPort, waitForTimeout } from 'e2b'
import { eventually, hostRequest } from './sandbox.mjs'
import { request } from 'node:http'

const unique = Date.now().toString(36)
const names = []
let context

before(() => {
  context = mkdtempSync(join(tmpdir(), 'shoal-builds-'))
  mkdirSync(join(context, 'folder', 'sub'), { recursive: true })
  writeFileSync(join(context, 'folder', 'test.txt'), 'This is a test file.\n')
  writeFileSync(join(context, 'folder', 'sub', 'deep.txt'), 'deep\n')
  writeFileSync(join(context, 'run.sh'), '#!/bin/sh\necho ran\n')
  chmodSync(join(context, 'run.sh'), 0o755)
  symlinkSync('test.txt', join(context, 'folder', 'relative.txt'))
  symlinkSync('/folder/test.txt', join(context, 'folder', 'absolute.txt'))
  symlinkSync('missing.txt', join(context, 'folder', 'broken.txt'))
})

after(async () => {
  rmSync(context, { recursive: true, force: true })
  for (const name of names) await remove(name)
})

/** Deletes a template; the SDK has no call for it. */
async function remove(name) {
  await fetch(`${process.env.E2B_API_URL}/templates/${encodeURIComponent(name)}`, { method: 'DELETE', headers: { 'X-API-Key': process.env.E2B_API_KEY } })
}

/** A start command that keeps running after a command has printed, and is ready once that was read. */
const saying = (command) => [`${command}; sleep 1; touch /dev/shm/said; sleep 1000`, '[ -f /dev/shm/said ]']

const template = () => Template({ fileContextPath: context })

/** Builds under a unique name; returns the name and the lines of the log. */
async function build(steps, name, opts = {}) {
  name = `${name}-${unique}`
  if (!names.includes(name)) names.push(name)
  const lines = []
  const built = await Template.build(steps, name, { cpuCount: 1, memoryMB: 1024, ...opts, onBuildLogs: (e) => lines.push(`${e.level}: ${e.message}`) })
  return { name, lines, ...built }
}

const printed = (lines, at) => lines.filter((l) => l.includes(`[builder ${at}] [stdout]: `)).map((l) => l.replace(/^.*\[stdout\]: /, ''))

test('copies files, runs commands and keeps the outcome', async () => {
  const { name, lines } = await build(
    template().fromBaseImage().skipCache()
      .copy('folder/*', 'folder', { forceUpload: true }).runCmd('cat folder/test.txt; readlink folder/broken.txt; cat folder/sub/deep.txt')
      .copy('run.sh', 'dst/').copy('run.sh', '/opt/deep/tool', { user: 'root', mode: 0o700 }).copy('.', '/all/')
      .runCmd('dst/run.sh; sudo stat -c "%U %a" /opt/deep/tool; stat -c %U /all/run.sh dst; ls /all')
      .setWorkdir('/app'),
    'copies')
  assert.deepEqual(printed(lines, '2/7'), ['This is a test file.', 'missing.txt', 'deep'])
  assert.deepEqual(printed(lines, '6/7'), ['ran', 'root 700', 'user', 'user', 'folder', 'run.sh'])
  const sandbox = await Sandbox.create(name)
  try {
    assert.equal((await sandbox.commands.run('pwd; cat ~/folder/relative.txt; cat ~/folder/absolute.txt 2>/dev/null || echo broken')).stdout,
      '/app\nThis is a test file.\nbroken\n')
    assert.match((await sandbox.commands.run('cat /.e2b')).stdout, /^ENV_ID=\w{20}\nTEMPLATE_ID=\w{20}\nBUILD_ID=[0-9a-f-]{36}\n$/)
  } finally {
    await sandbox.kill()
  }
})

test('resolves links when asked to', async () => {
  const { lines } = await build(template().fromBaseImage().copy('folder/relative.txt', 'folder/real.txt', { resolveSymlinks: true })
    .runCmd('test ! -L folder/real.txt && cat folder/real.txt'), 'links')
  assert.deepEqual(printed(lines, '2/2'), ['This is a test file.'])
})

test('runs commands as whoever is asked for', async () => {
  const { lines } = await build(template().fromBaseImage().runCmd('whoami; pwd; sudo id -un').runCmd('whoami; pwd', { user: 'root' })
    .setUser('bob').runCmd('whoami; echo $HOME'), 'users')
  assert.deepEqual(printed(lines, '1/4'), ['user', '/home/user', 'root'])
  assert.deepEqual(printed(lines, '2/4'), ['root', '/root'])
  assert.deepEqual(printed(lines, '4/4'), ['bob', '/home/bob'])
})

test('keeps values of variables as they are, but for other variables', async () => {
  const value = 'a"b\'c\\d\n-----BEGIN $(touch /tmp/no) `id`-----'
  const { name, lines } = await build(template().fromBaseImage().setEnvs({ SECRET: value, PATH: '${PATH}:/my/path' }).setEnvs({ TWICE: '$SECRET' })
    .runCmd('printf %s "$SECRET" | sha256sum; printf %s "$TWICE" | sha256sum; echo $PATH; ls /tmp/no 2>&1 || true'), 'env')
  const [first, second, path, no] = printed(lines, '3/3')
  const digest = Buffer.from(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(value))).toString('hex')
  assert.equal(first, `${digest}  -`)
  assert.equal(second, first)
  assert.ok(path.split(':').includes('/my/path') && path.split(':').includes('/usr/bin'), path)
  assert.match(no, /No such file/)
  const sandbox = await Sandbox.create(name)
  try {
    assert.equal((await sandbox.commands.run('echo "[$SECRET]"')).stdout, '[]\n')
  } finally {
    await sandbox.kill()
  }
})

test('takes unchanged steps from the cache, up to one that is forced', async () => {
  const steps = (last, force) => {
    let t = template().fromBaseImage().setEnvs({ ENV_VAR: 'Hello, World!', SEED: unique }).runCmd('date +%N > stamp; cat stamp')
    if (force) t = t.skipCache()
    return t.runCmd(`ln -sf .bashrc .bashrc.local; readlink .bashrc.local; cat stamp; echo ${last}`)
  }
  const first = await build(steps('one'), 'cached')
  const second = await build(steps('two'), 'cached')
  assert.ok(second.lines.some((l) => l.startsWith(`info: CACHED [builder 1/3] ENV ENV_VAR Hello, World! SEED ${unique} [`)), second.lines.join('\n'))
  const stamp = printed(first.lines, '2/3')[0]
  assert.deepEqual(printed(second.lines, '3/3'), ['.bashrc', stamp, 'two'])
  const third = await build(steps('two', true), 'cached')
  assert.ok(third.lines.some((l) => l.startsWith('info: CACHED [builder 2/3] RUN')))
  assert.ok(third.lines.some((l) => l.startsWith('info: [builder 3/3] RUN')))
  assert.notEqual(third.buildId, second.buildId)
  assert.equal(third.templateId, second.templateId)
})

test('starts sandboxes with the start command running, in its own environment', async () => {
  const { name, lines } = await build(template().fromBaseImage().setEnvs({ GREETING: 'hello' }).setWorkdir('/srv/site')
    .runCmd('echo $GREETING > index.html').setStartCmd('echo "starting $GREETING in $(pwd)"; exec python3 -m http.server 8000', waitForPort(8000)), 'server')
  const at = (text) => lines.findIndex((l) => l.startsWith('info: ') && l.includes(text))
  assert.ok(at('Running start command: echo') > 0)
  assert.ok(at('Waiting for template to be ready: ') > at('Running start command: echo'))
  assert.ok(at('Template is ready') > at('Waiting for template to be ready: '))
  assert.ok(at('[start] [stdout]: starting hello in /srv/site') > 0, lines.join('\n'))
  const sandbox = await Sandbox.create(name, { envs: { MINE: 'yes' } })
  try {
    const body = await new Promise((resolve, reject) => request(hostRequest(sandbox, 8000, '/index.html'), (r) => r.setEncoding('utf8').on('data', resolve)).on('error', reject).end())
    assert.equal(body, 'hello\n')
    assert.equal((await sandbox.commands.run('echo $MINE$GREETING; pwd')).stdout, 'yes\n/srv/site\n')
    const pids = (await sandbox.commands.run('pgrep -f http.server')).stdout.trim()
    assert.equal((await sandbox.commands.run(`tr "\\0" "\\n" < /proc/${pids.split('\n')[0]}/environ | grep -c -e ^GREETING -e ^MINE`)).stdout, '1\n')
  } finally {
    await sandbox.kill()
  }
  const child = await build(template().fromTemplate(name).runCmd('cat /srv/site/index.html; pwd; echo $GREETING'), 'server-child')
  assert.deepEqual(printed(child.lines, '1/1'), ['hello', '/srv/site', 'hello'])
  assert.ok(child.lines.some((l) => l.includes('[start] [stdout]: starting hello in /srv/site')))
  const own = await build(template().fromTemplate(name).setStartCmd(...saying('echo other')), 'server-own')
  assert.ok(own.lines.some((l) => l.includes('[start] [stdout]: other')))
  assert.ok(!own.lines.some((l) => l.includes('starting hello')))
})

test('says which step failed, and why', async () => {
  const failures = {
    'exit status': [(t) => t.runCmd('true').runCmd('echo first; echo last >&2; exit 3'), "failed to run command 'echo first; echo last >&2; exit 3': exit status 3"],
    'unknown user': [(t) => t.runCmd('whoami', { user: 'root123' }), "failed to run command 'whoami': command failed: unauthenticated: invalid username: 'root123'"],
    'start command': [(t) => t.setStartCmd('exit 4', waitForTimeout(10_000)), 'start command failed: error running start command: exit status 4'],
    'no such owner': [(t) => t.copy('run.sh', '/x', { user: 'nobody-here' }), /^failed to copy 'run.sh' to '\/x': .*user 'nobody-here' does not exist/],
    'no user': [(t) => t.setUser('$NEVER_SET'), 'failed to create user: the name is empty; it may be a variable that no ENV before it sets'],
    "another's group": [(t) => t.setUser('root:daemon'), /^failed to create user: .*the group of user 'root' is 'root', not 'daemon'/],
    'working directory': [(t) => t.setWorkdir('/etc/passwd'), /^failed to set the working directory '\/etc\/passwd'/],
  }
  for (const [what, [steps, want]] of Object.entries(failures)) {
    const lines = []
    await assert.rejects(Template.build(steps(template().fromBaseImage()), `failing-${unique}`, { onBuildLogs: (e) => lines.push(e.message) }), (e) => {
      assert.ok(e instanceof BuildError, `${what}: ${e}`)
      if (want instanceof RegExp) assert.match(e.message, want)
      else assert.equal(e.message, want)
      assert.match(e.stack, /templates\.test\.mjs/)
      return true
    })
    if (what === 'exit status') assert.ok(lines.some((l) => l.includes('it printed last:\nfirst\nlast')), lines.join('\n'))
  }
  names.push(`failing-${unique}`)
  await assert.rejects(Template.build(template().fromTemplate('no-such-template'), `failing-${unique}`), /template 'no-such-template' not found/)
  await assert.rejects(Template.build(template().fromImage('127.0.0.1:1/no/image'), `failing-${unique}`), /failed to pull image '127.0.0.1:1\/no\/image'/)
  await assert.rejects(Sandbox.create(`failing-${unique}`), /does not exist for template/)
})

test('says that memory ran out, and what gives more', async () => {
  const eat = `python3 -c "x=b'a'*(900*1024*1024)"`
  const cases = {
    [`failed to run command '${eat}': `]: (t) => t.runCmd(eat),
    [`failed to run command '${eat} && true': `]: (t) => t.runCmd(`${eat} && true`),
    'start command failed: error running start command: ': (t) => t.setStartCmd(eat, 'test -f /never'),
  }
  for (const [begin, steps] of Object.entries(cases)) {
    await assert.rejects(build(steps(template().fromBaseImage()), 'hungry', { memoryMB: 256 }), (e) => {
      assert.ok(e instanceof BuildError && e.message.startsWith(begin), `${e}`)
      assert.match(e.message, /256 MiB of memory\. Build with a larger memoryMB \(memory_mb in Python\)$/)
      return true
    })
  }
})

test('warns that a step waits for a process that its command left behind', async () => {
  const warning = /^warn: \[builder 1\/2\] the command has ended, but a process .*>\/dev\/null 2>&1/
  const { lines } = await build(template().fromBaseImage().skipCache().runCmd('(sleep 12 &); echo begun').runCmd('sleep 8'), 'leftover')
  assert.equal(lines.filter((l) => warning.test(l)).length, 1, lines.join('\n'))
  assert.ok(!lines.some((l) => l.startsWith('warn: [builder 2/2]')), lines.join('\n'))
})

test('a failed rebuild leaves the previous build in place', async () => {
  const { name } = await build(template().fromBaseImage().runCmd('echo good > state'), 'rebuilt')
  const sandbox = await Sandbox.create(name)
  try {
    await assert.rejects(build(template().fromBaseImage().runCmd('exit 1'), 'rebuilt'))
    await build(template().fromBaseImage().runCmd('echo better > state'), 'rebuilt')
    assert.equal((await sandbox.commands.run('cat state')).stdout, 'good\n')
  } finally {
    await sandbox.kill()
  }
  const next = await Sandbox.create(name)
  try {
    assert.equal((await next.commands.run('cat state')).stdout, 'better\n')
  } finally {
    await next.kill()
  }
})

test('builds in the background, under tags, and many at once', async () => {
  const tagged = `tagged-${unique}`
  names.push(tagged)
  const started = await Template.buildInBackground(template().fromBaseImage().runCmd('sleep 5'), `${tagged}:v1`, { cpuCount: 1, memoryMB: 512 })
  const status = (o = {}) => Template.getBuildStatus({ templateId: started.templateId, buildId: started.buildId, ...o })
  assert.equal((await status()).status, 'building')
  await eventually(async () => (await status()).status === 'ready', 'the background build', 120_000)
  await Template.assignTags(`${tagged}:v1`, ['production', 'latest'])
  assert.deepEqual((await Template.getTags(tagged)).map((t) => t.tag).sort(), ['latest', 'production', 'v1'])
  assert.equal(await Template.exists(tagged), true)
  assert.equal(await Template.exists(`nothing-${unique}`), false)
  const sandbox = await Sandbox.create(`${tagged}:production`)
  await sandbox.kill()

  const many = await Promise.all([...Array(10).keys()].map((n) =>
    build(template().fromBaseImage().runCmd(`echo ${n} > n`).runCmd('cat n'), `many-${n}`, { memoryMB: 512 })))
  for (const [n, { lines }] of many.entries()) assert.deepEqual(printed(lines, '2/2'), [`${n}`])
})

test('a newer build takes the place of one under way', async () => {
  const name = `superseded-${unique}`
  names.push(name)
  let begin
  const begun = new Promise((resolve) => { begin = resolve })
  const slow = Template.build(template().fromBaseImage().runCmd('sleep 60'), name, { onBuildLogs: (entry) => { if (entry.message.includes('RUN sleep 60')) begin() } })
  const outcome = assert.rejects(slow, /cancel/)
  await Promise.race([begun, outcome])
  await build(template().fromBaseImage().runCmd('true'), 'superseded')
  await outcome
})

// Rows of the contract's test matrix.

test('T1: copies a folder with links, and takes what the start command prints', async () => {
  const { lines } = await build(template().fromBaseImage().copy('folder/*', 'folder', { forceUpload: true }).runCmd('cat folder/test.txt')
    .setWorkdir('/app').setStartCmd('echo "Hello, world!"', waitForTimeout(10_000)), 't1', { skipCache: true })
  assert.deepEqual(printed(lines, '2/3'), ['This is a test file.'])
  assert.ok(lines.includes('info: [start] [stdout]: Hello, world!'), lines.join('\n'))
  assert.ok(lines.includes('info: Waiting for template to be ready: sleep 10'))
  assert.ok(!lines.some((l) => l.includes('CACHED')))
  assert.ok(lines.some((l) => l.startsWith('info: [optimize] ')))
})

test('T2: a template of the base template and nothing else', async () => {
  const { name, lines } = await build(Template().fromTemplate('base'), 't2', { skipCache: true })
  assert.ok(lines.some((l) => l.startsWith('info: [base] FROM TEMPLATE base [')))
  const sandbox = await Sandbox.create(name)
  try {
    assert.equal((await sandbox.commands.run('whoami; pwd')).stdout, 'user\n/home/user\n')
  } finally {
    await sandbox.kill()
  }
})

test('T5: links stay, and are replaced by force in a later step', async () => {
  const check = 'test "$(readlink .bashrc.local)" = ".bashrc"'
  await build(template().fromBaseImage().makeSymlink('.bashrc', '.bashrc.local').runCmd(check)
    .skipCache().makeSymlink('.bashrc', '.bashrc.local', { force: true }).runCmd(check), 't5')
  await assert.rejects(build(template().fromBaseImage().makeSymlink('.bashrc', '.bashrc.local').makeSymlink('.bashrc', '.bashrc.local'), 't5'), /exit status 1/)
})

test('T6: a background build is building by the very next request', async () => {
  const name = `e2b-test-${unique}`
  names.push(name)
  const started = await Template.buildInBackground(template().fromUbuntuImage('22.04').runCmd('sleep 600'), `${name}:v1`, { cpuCount: 1, memoryMB: 1024 })
  assert.equal((await Template.getBuildStatus(started)).status, 'building')
  await remove(name) // ends the build
})

test('P6: a start command that is inherited runs where it was set', async () => {
  const first = await build(template().fromBaseImage().setEnvs({ ONE: 'first' }).setWorkdir('/srv/first')
    .setStartCmd(...saying('echo "start $ONE$TWO in $(pwd)"')), 'level-1')
  const second = await build(template().fromTemplate(first.name).setEnvs({ TWO: 'second', ONE: 'changed' }).setWorkdir('/srv/second'), 'level-2')
  assert.ok(second.lines.includes('info: [start] [stdout]: start first in /srv/first'), second.lines.join('\n'))
  const third = await build(template().fromTemplate(second.name).setEnvs({ THREE: 'third' }).runCmd('echo $ONE $TWO $THREE; pwd'), 'level-3')
  assert.deepEqual(printed(third.lines, '2/2'), ['changed second third', '/srv/second'])
  assert.ok(third.lines.includes('info: [start] [stdout]: start first in /srv/first'))
})

test('P7: what a start command printed before it was ready is in the log', async () => {
  const { lines } = await build(template().fromBaseImage()
    .setStartCmd(...saying('for i in 1 2 3; do echo early $i; done')), 'early')
  for (const n of [1, 2, 3]) assert.ok(lines.includes(`info: [start] [stdout]: early ${n}`), lines.join('\n'))
  const phases = lines.map((l) => l.match(/^info: (\[finalize\]|\[optimize\]|Running start|Template is ready)/)?.[1]).filter(Boolean)
  assert.deepEqual(phases, ['[finalize]', 'Running start', 'Template is ready', '[optimize]'])
})

/** Calls the API directly; returns the body of the answer. */
async function call(method, path, body, want) {
  const answer = await fetch(process.env.E2B_API_URL + path, { method, body: body && JSON.stringify(body),
    headers: { 'X-API-Key': process.env.E2B_API_KEY, 'Content-Type': 'application/json', 'User-Agent': 'e2b-js-sdk/2.51.0' } })
  const text = await answer.text()
  assert.equal(answer.status, want, text)
  return text && JSON.parse(text)
}

/** Builds by raw requests, with an upload (by default of the context) under any hash. */
async function rawBuild(name, start, { body = execFileSync('tar', ['-C', context, '-cf', '-', '.']), headers = {} } = {}) {
  name = `${name}-${unique}`
  names.push(name)
  const { templateID, buildID } = await call('POST', '/v3/templates', { name, cpuCount: 1, memoryMB: 512 }, 202)
  const hash = [...crypto.getRandomValues(new Uint8Array(32))].map((b) => b.toString(16).padStart(2, '0')).join('')
  const link = await call('GET', `/templates/${templateID}/files/${hash}`, undefined, 201)
  assert.equal(link.present, false)
  const put = await fetch(link.url, { method: 'PUT', body, headers: { 'Content-Type': 'application/octet-stream' } })
  assert.equal(put.status, 200)
  const answer = await fetch(`${process.env.E2B_API_URL}/v2/templates/${templateID}/builds/${buildID}`, { method: 'POST',
    headers: { 'X-API-Key': process.env.E2B_API_KEY, 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(start(hash)) })
  assert.equal(answer.status, 202)
  const lines = []
  let status
  await eventually(async () => {
    status = await call('GET', `/templates/${templateID}/builds/${buildID}/status?logsOffset=${lines.length}`, undefined, 200)
    lines.push(...status.logEntries.map((e) => `${e.level}: ${e.message}`))
    return ['ready', 'error'].includes(status.status) && status.logEntries.length === 0
  }, `the build of ${name}`, 120_000)
  const { present } = await call('GET', `/templates/${templateID}/files/${hash}`, undefined, 201)
  return { name, lines, status, present }
}

test('P9: files are taken as they come, under any hash', async () => {
  writeFileSync(join(context, 'copy.archive'), 'a file of the user\'s\n')
  const { lines, status, present } = await rawBuild('raw', (hash) => ({ fromImage: 'e2bdev/base', steps: [
    { type: 'copy', args: ['.', '/app/', '', ''], filesHash: hash },
    { type: 'RUN', args: ['cat /app/folder/test.txt /app/copy.archive; stat -c %U /app/run.sh'] },
    { type: 'COPY', args: ['run.sh', 'mine/', 'root', '0700'], filesHash: hash },
    { type: 'RUN', args: ['sudo stat -c "%U %a" /home/user/mine/run.sh'] },
    { type: 'COPY', args: ['run.sh', '/numbered', '4242', ''], filesHash: hash }, { type: 'RUN', args: ['stat -c %u:%g /numbered'] }] }))
  assert.equal(status.status, 'ready', lines.join('\n'))
  assert.equal(present, true)
  assert.deepEqual(printed(lines, '2/6'), ['This is a test file.', "a file of the user's", 'user'])
  assert.deepEqual(printed(lines, '4/6'), ['root 700'])
  assert.deepEqual(printed(lines, '6/6'), ['4242:4242'])
})

test('files that cannot be used are requested again', async () => {
  const copy = (source) => (hash) => ({ fromImage: 'e2bdev/base', steps: [{ type: 'COPY', args: [source, '/app/', '', ''], filesHash: hash }] })
  const begin = "failed to copy 'run.sh' to '/app/': "
  for (const [what, body] of [['This does not look like a tar archive', 'not a tar at all'], ["'run.sh' is not among the files", execFileSync('tar', ['-C', context, '-czf', '-', 'folder'])]]) {
    const { status, present } = await rawBuild('unusable', copy('run.sh'), { body })
    assert.equal(status.reason?.step, '1')
    assert.ok(status.reason.message.startsWith(begin) && status.reason.message.includes(what), status.reason.message)
    assert.match(status.reason.message, /build again, with forceUpload if it persists$/)
    assert.equal(present, false, what)
  }
})
