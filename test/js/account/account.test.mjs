// The pages at which people sign in, as a person uses them: a real Chromium, in which no script
// runs and which says when a page asks for what its policy forbids.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { browse } from '../browser.mjs'
import { eventually } from '../sandbox.mjs'

const api = process.env.E2B_API_URL
const { WELCOME_LINK, ISSUER_EMAIL } = process.env
const email = 'ann@example.com'
const password = 'correct horse battery'

let browser, page
const complaints = [] // of the browser about pages, but for answers with an error's status
before(async () => {
  browser = await browse({ hosts: ['localhost', '127.0.0.1'], javaScriptEnabled: false })
  page = await browser.newPage()
  page.setDefaultTimeout(30_000)
  page.on('console', (message) => {
    if (!message.text().startsWith('Failed to load resource: the server responded')) complaints.push(message.text())
  })
  page.on('requestfailed', (request) => complaints.push(`${request.url()}: ${request.failure().errorText}`))
})
after(() => browser?.close())

const path = () => new URL(page.url()).pathname
const at = async (name, heading) => {
  assert.equal(path(), name)
  assert.equal(await page.locator('h1').textContent(), heading)
}
const button = (name) => page.getByRole('button', { name, exact: true })
const open = (name) => page.goto(new URL(name, WELCOME_LINK).href)

/** What the API answers to a credential. */
const status = async (route, headers) => (await fetch(api + route, { headers })).status

async function signIn(secret) {
  await open('/sign-in')
  await page.getByLabel('Address').fill(email)
  await page.getByLabel('Password').fill(secret)
  await button('Sign in').click()
}

test('the first person comes by the link, once', async () => {
  await page.goto(WELCOME_LINK)
  await at('/welcome', 'Welcome')
  assert.match(await page.locator('main').textContent(), /You are the first person here/)
  assert.ok((await page.locator('main').boundingBox()).width < 800, 'the style sheet is not applied')
  await page.getByLabel('Address').fill(email)
  await page.getByLabel('Password').fill(password)
  await page.getByLabel('Once more').fill('another')
  await button('Set the password').click() // the browser itself refuses what is too short
  assert.equal(path(), '/welcome')
  await page.getByLabel('Once more').fill(`${password}!`)
  await button('Set the password').click()
  assert.match(await page.getByRole('alert').textContent(), /The two passwords differ/)
  await page.goto(WELCOME_LINK)
  await page.getByLabel('Address').fill(email)
  await page.getByLabel('Password').fill(password)
  await page.getByLabel('Once more').fill(password)
  await button('Set the password').click()
  await at('/account', 'Account')
  assert.match(await page.locator('main').textContent(), new RegExp(`Signed in as ${email}`))
  assert.match(await page.locator('section small').first().textContent(), /owner/)
  await page.goto(WELCOME_LINK)
  await at('/welcome', 'That did not work')
})

test('an API key is made, works, and is ended', async () => {
  await open('/account')
  const form = page.locator('form[action="/account/keys"]').first()
  await form.getByLabel('Name').fill('browser')
  await form.getByRole('button').click()
  const key = await page.locator('#secret').textContent()
  assert.match(key, /^e2b_[0-9a-f]+$/)
  const works = () => status('/v2/sandboxes', { 'X-API-Key': key })
  assert.equal(await works(), 200)
  await open('/account')
  assert.ok(!(await page.content()).includes(key), 'the key is shown again')
  const row = page.locator('tr', { hasText: 'browser' })
  await row.getByRole('button', { name: 'End' }).click()
  await at('/account', 'Account')
  assert.equal(await row.count(), 0)
  await eventually(async () => await works() === 401)
})

test('an access token is made, works, and is ended', async () => {
  await open('/account')
  const form = page.locator('form[action="/account/tokens"]')
  await form.getByLabel('Name').fill('laptop')
  await form.getByRole('button').click()
  const token = await page.locator('#secret').textContent()
  assert.match(token, /^sk_e2b_/)
  const works = () => status('/teams', { Authorization: `Bearer ${token}` })
  assert.equal(await works(), 200)
  await open('/account')
  await page.locator('tr', { hasText: 'laptop' }).getByRole('button', { name: 'End' }).click()
  assert.equal(await page.locator('tr', { hasText: 'laptop' }).count(), 0)
  await eventually(async () => await works() === 401)
})

test('who signs out is out, and comes in by the right password only', async () => {
  await open('/account')
  await button('Sign out').click()
  await at('/sign-in', 'Sign in')
  await open('/account')
  await at('/sign-in', 'Sign in')
  await signIn('not the password')
  await at('/sign-in', 'Sign in')
  assert.ok(await page.getByRole('alert').isVisible())
  assert.equal(await page.getByLabel('Address').inputValue(), email)
  await signIn(password)
  await at('/account', 'Account')
})

test('somebody signs in at the provider', async () => {
  await button('Sign out').click()
  await page.getByRole('link', { name: 'Sign in with Example' }).click()
  await at('/account', 'Account')
  assert.match(await page.locator('main').textContent(), new RegExp(`Signed in as ${ISSUER_EMAIL}`))
  assert.match(await page.locator('section small').first().textContent(), /viewer/) // by the group
  assert.equal(await page.locator('form[action="/account/keys"]').count(), 0) // which may make no keys
  await button('Sign out').click()
  await at('/sign-in', 'Sign in')
})

test('no page has asked for what its policy forbids', async () => {
  assert.deepEqual(complaints, [])
  assert.equal(await page.locator('script').count(), 0)
  // It would have been noticed: the same page with a style and an image that the policy forbids.
  await page.route('**/sign-in', async (route) => {
    const answer = await route.fetch()
    const body = (await answer.text()).replace('</head>', '<style>main { color: red }</style></head>')
    await route.fulfill({ response: answer, body })
  })
  await open('/sign-in')
  await eventually(() => complaints.some((text) => text.includes('Content Security Policy')))
})
