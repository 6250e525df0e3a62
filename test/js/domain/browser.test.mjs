// Chromium opens a port of a sandbox by its name, which nothing resolves for it, and trusts
// its certificate by the store of the user's browsers.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { Sandbox } from 'e2b'
import { eventually } from '../sandbox.mjs'

const profile = await mkdtemp(join(tmpdir(), 'browser-'))
const context = await chromium.launchPersistentContext(profile, {
  executablePath: '/usr/bin/chromium', headless: true, env: { ...process.env, HOME: process.env.BROWSER_HOME },
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})
after(async () => {
  await context.close()
  await rm(profile, { recursive: true, force: true })
})

test('a page of a sandbox', { timeout: 120_000 }, async () => {
  const sandbox = await Sandbox.create({ timeoutMs: 120_000 })
  try {
    await sandbox.files.write('/tmp/site/index.html', '<title>inside</title><h1>served from inside</h1>')
    await sandbox.commands.run('python3 -m http.server 3000 -d /tmp/site', { background: true, timeoutMs: 0 })
    const page = await context.newPage()
    const address = `https://${sandbox.getHost(3000)}/`
    const answer = await eventually(async () => {
      const a = await page.goto(address).catch(() => {}) // the browser sees the host's links come and go
      return a?.ok() && a
    }, 'the page comes')
    assert.equal(await page.title(), 'inside')
    assert.equal(answer.headers()['strict-transport-security'], undefined)
    assert.equal(await page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol), 'h2')
    assert.equal(await page.evaluate(() => isSecureContext), true)
    // It is nobody's business what the page asks of the API.
    const api = `https://api.${process.env.E2B_DOMAIN}/sandboxes`
    assert.equal(await page.evaluate((url) => fetch(url).then((r) => r.status, () => 'refused'), api), 'refused')
  } finally {
    await sandbox.kill()
  }
})
