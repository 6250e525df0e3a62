// A real Chromium that reaches the ports of sandboxes by their host names, through the
// proxy, hosts that a test names, and nothing else.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'

const proxy = new URL(process.env.E2B_SANDBOX_URL)

/** Starts the browser with a profile of its own; close removes the profile. */
export async function browse({ hosts = [], ...options } = {}) {
  const profile = await mkdtemp(join(tmpdir(), 'browser-'))
  const context = await chromium.launchPersistentContext(profile, {
    ...options, executablePath: '/usr/bin/chromium', headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
      `--host-resolver-rules=MAP *.shoal.test ${proxy.hostname}, MAP * ~NOTFOUND${[proxy.hostname, ...hosts].map((host) => `, EXCLUDE ${host}`).join('')}`],
  })
  return {
    newPage: () => context.newPage(),
    close: async () => {
      await context.close()
      await rm(profile, { recursive: true, force: true })
    },
  }
}

/** The address at which the browser finds a port of a sandbox. */
export function address(sandbox, port) {
  return `http://${port}-${sandbox.sandboxId}.shoal.test:${proxy.port}`
}
