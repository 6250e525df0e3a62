// Template builds.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Template, create, eventually, feature, isError, minutes, needs, output, prefix, sdk } from './client.mjs'

let built
/** A template that was built with a copied file, a command, a variable and a start command. */
async function build() {
  needs(Template)
  const context = mkdtempSync(join(tmpdir(), 'context-'))
  try {
    writeFileSync(join(context, 'copied.txt'), `for ${prefix}\n`)
    const lines = []
    const steps = Template({ fileContextPath: context }).fromBaseImage()
      .copy('copied.txt', '/home/user/site/copied.txt').setEnvs({ LEVEL: 'template' }).setWorkdir('/home/user/site')
      .runCmd('echo $LEVEL > /home/user/site/level.txt')
      .setStartCmd('python3 -m http.server 8080 -d /home/user/site', sdk.waitForPort(8080))
    const info = await Template.build(steps, `${prefix}-built`, { cpuCount: 1, memoryMB: 512, onBuildLogs: (line) => { lines.push(line) } })
    assert.ok(lines.length > 0, 'no log')
    return info
  } finally {
    rmSync(context, { recursive: true })
  }
}
const template = () => (built ??= build())

feature('Templates: build', async () => {
  const { templateId, buildId } = await template()
  assert.ok(templateId && buildId)
}, 4 * minutes)
feature('Templates: a sandbox of it', async () => {
  await template()
  const sandbox = await create({}, `${prefix}-built`)
  assert.equal(await output(sandbox, 'cat /home/user/site/copied.txt level.txt; curl -sS localhost:8080/level.txt'),
    `for ${prefix}\ntemplate\ntemplate\n`)
}, 4 * minutes)
feature('Templates: from a Dockerfile, in the background', async () => {
  needs(Template?.buildInBackground, Template?.getBuildStatus)
  const steps = Template().fromDockerfile('FROM e2bdev/base\nENV A=1\nRUN echo $A | sudo tee /made.txt\n')
  const info = await Template.buildInBackground(steps, `${prefix}-docker`, { cpuCount: 1, memoryMB: 512 })
  await eventually(async () => {
    const { status, reason } = await Template.getBuildStatus(info)
    assert.notEqual(status, 'error', reason?.message)
    return status === 'ready'
  }, 'it is ready')
  assert.equal(await output(await create({}, `${prefix}-docker`), 'cat /made.txt'), '1\n')
}, 2 * minutes)
feature('Templates: a failing step', async () => {
  needs(Template)
  await assert.rejects(Template.build(Template().fromBaseImage().runCmd('exit 7'), `${prefix}-fails`, { cpuCount: 1, memoryMB: 512 }),
    isError('BuildError'))
}, 2 * minutes)
feature('Templates: names and tags', async () => {
  needs(Template?.exists, Template?.assignTags, Template?.getTags, Template?.removeTags)
  const { templateId, buildId } = await template()
  assert.equal(await Template.exists(`${prefix}-built`), true)
  assert.equal(await Template.exists(`${prefix}-nothing`), false)
  await Template.assignTags(`${prefix}-built:default`, 'stable')
  const tagged = async () => (await Template.getTags(templateId)).filter((t) => t.buildId === buildId).map((t) => t.tag).sort()
  assert.deepEqual(await tagged(), ['default', 'stable'])
  await create({}, `${prefix}-built:stable`)
  await Template.removeTags(`${prefix}-built`, 'stable')
  assert.deepEqual(await tagged(), ['default'])
}, 4 * minutes)
