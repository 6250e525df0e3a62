// Serves a page in a sandbox and fetches it from outside, as a browser would.
import { Sandbox } from 'e2b'

const sandbox = await Sandbox.create({ timeoutMs: 60_000 })
try {
  await sandbox.files.write('site/index.html', '<h1>Hello from a sandbox</h1>')
  await sandbox.commands.run('python3 -m http.server 8000 --directory site', { background: true })

  // With a domain, the page is at https://<host> in any browser. Without one, as on
  // loopback, the proxy is told by headers which sandbox and port are meant.
  const url = process.env.E2B_DOMAIN ? `https://${sandbox.getHost(8000)}` : process.env.E2B_SANDBOX_URL
  const headers = { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '8000' }
  let page
  do {
    page = await fetch(url, { headers })
  } while (page.status === 502) // the server is not listening yet
  console.log(page.status, await page.text())
} finally {
  await sandbox.kill()
}
