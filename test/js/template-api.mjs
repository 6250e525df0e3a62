// How the SDK uses the template routes, without a machine: the Go test that starts this
// script has an engine that plays the builds (internal/api/sdk_test.go). It prints every
// line and fails a step that runs "whoami" as root123.
import assert from 'node:assert/strict'
import { mkdtempSync, mkdirSync, readFileSync, writeFileSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BuildError, Template } from 'e2b'

const context = mkdtempSync(join(tmpdir(), 'shoal-template-'))
mkdirSync(join(context, 'folder'))
writeFileSync(join(context, 'folder', 'test.txt'), 'This is a test file.')
symlinkSync('missing.txt', join(context, 'folder', 'broken.txt'))
const template = () => Template({ fileContextPath: context })
const messages = []
const onBuildLogs = (entry) => messages.push(`${entry.level}: ${entry.message}`)

// A build with everything in it.
const full = template()
  .fromImage('ubuntu:22.04')
  .copy('folder/*', 'folder', { forceUpload: true })
  .runCmd('cat folder/test.txt')
  .setEnvs({ ENV_VAR: 'Hello, World!' })
  .setWorkdir('/app')
  .setStartCmd('echo "Hello"', 'sleep 1')
const built = await Template.build(full, 'Full:v1', { tags: ['v2'], cpuCount: 1, memoryMB: 1024, minFreeDiskMb: 0, skipCache: true, onBuildLogs })
assert.match(built.templateId, /^[a-z0-9]{20}$/)
assert.match(built.buildId, /^[0-9a-f-]{36}$/)
assert.deepEqual(built.tags, ['v1', 'v2'])
for (const want of [`info: Building template ${built.templateId}/${built.buildId}`, 'info: [builder 3/4] ENV ENV_VAR Hello, World!', 'debug: copied 1 archive(s)']) {
  assert.ok(messages.includes(want), `no line ${want} in ${messages.join('\n')}`)
}
assert.ok(messages.some((m) => /^info: Build finished, took /.test(m)), messages.join('\n'))
// More lines than a page of the log has; none may be lost or repeated.
const numbered = messages.filter((m) => /line \d+$/.test(m)).map((m) => Number(m.match(/\d+$/)[0]))
assert.deepEqual(numbered, [...Array(250).keys()])

// The same files are already uploaded when another template needs them.
messages.length = 0
await Template.build(template().fromImage('ubuntu:22.04').copy('folder/*', 'folder'), 'again', { onBuildLogs })
assert.ok(messages.some((m) => m.includes("Skipping upload of 'folder/*', already cached")), messages.join('\n'))

// The line of the failing step is blamed, with the exact message.
const failing = template()
  .fromImage('ubuntu:22.04')
  .runCmd('true')
  .runCmd('whoami', { user: 'root123' })
const blamed = readFileSync(import.meta.filename, 'utf8').split('\n').findIndex((line) => line.includes("'root123'")) + 1
await assert.rejects(Template.build(failing, 'failing'), (error) => {
  assert.ok(error instanceof BuildError, String(error))
  assert.equal(error.message, "failed to run command 'whoami': command failed: unauthenticated: invalid username: 'root123'")
  assert.ok(error.stack.includes(`template-api.mjs:${blamed}:`), error.stack)
  return true
})
await assert.rejects(Template.build(template().fromTemplate('nothing-like-it'), 'orphan'), /template 'nothing-like-it' not found/)

// The status of a background build can be read at once.
const background = await Template.buildInBackground(template().fromImage('ubuntu:22.04').runCmd('sleep 60'), 'slow:now')
const status = await Template.getBuildStatus(background)
assert.equal(status.status, 'building')
assert.ok(Array.isArray(status.logEntries))
// A newer build of the same tag ends the older one.
await Template.build(template().fromImage('ubuntu:22.04'), 'slow:now')
const ended = await Template.getBuildStatus(background)
assert.equal(ended.status, 'error')
assert.match(ended.reason.message, /cancelled/)

// Names and tags.
assert.equal(await Template.exists('full:v1'), true)
assert.equal(await Template.exists('full:v9'), false)
assert.equal(await Template.aliasExists('base'), true)
assert.equal(await Template.exists('nobody-has-this'), false)
const assigned = await Template.assignTags('full:v1', ['production', 'latest'])
assert.deepEqual(assigned.tags, ['production', 'latest'])
assert.equal(assigned.buildId, built.buildId)
await Template.assignTags('full:latest', 'stable')
for (const target of [':invalid-tag', 'full:']) await assert.rejects(Template.assignTags(target, ['x']))
await Template.removeTags('full', ['production', 'latest'])
const tags = (await Template.getTags('full')).map((t) => t.tag).sort()
assert.deepEqual(tags, ['stable', 'v1', 'v2'])
await assert.rejects(Template.getTags('nobody-has-this'))
await Template.build(template().fromTemplate('full:stable').runCmd('true'), 'child')
console.log('done')
