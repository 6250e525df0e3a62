// How the SDK uses the routes of secrets, without a machine (internal/api/sdk_test.go).
import assert from 'node:assert/strict'
import { Secret, SecretError, SecretNotFoundError } from 'e2b'

const value = 'a-value-that-nobody-sees'
const made = await Secret.create('My_Key', value, { metadata: { owner: 'tests' } })
assert.match(made.secretId, /^sec_[0-9a-hjkmnp-tv-z]{26}$/)
assert.equal(made.name, 'my_key')
assert.equal(made.version, 1)
assert.deepEqual(made.metadata, { owner: 'tests' })
assert.ok(made.createdAt instanceof Date && !Number.isNaN(made.createdAt.getTime()))

const updated = await Secret.update('my_key', value + '2')
assert.equal(updated.version, 2)
assert.deepEqual(updated.metadata, { owner: 'tests' })
assert.deepEqual((await Secret.update(made.secretId, value, { metadata: {} })).metadata, {})
for (const key of [made.secretId, 'my_key']) {
  const info = await Secret.getInfo(key)
  assert.equal(info.secretId, made.secretId)
  assert.equal(info.version, 3)
  assert.ok(!JSON.stringify(info).includes(value))
  assert.equal(await Secret.exists(key), true)
}

// Two pages: two, then one.
await Secret.create('second', value)
await Secret.create('third', value)
const pages = []
const paginator = Secret.list({ limit: 2 })
while (paginator.hasNext) pages.push(await paginator.nextItems())
assert.deepEqual(pages.map((page) => page.length), [2, 1])
assert.deepEqual(pages.flat().map((s) => s.name).sort(), ['my_key', 'second', 'third'])
assert.ok(!JSON.stringify(pages).includes(value))

await assert.rejects(Secret.create('SECOND', value), (error) => {
  assert.ok(error instanceof SecretError, String(error))
  assert.ok(!String(error).includes(value))
  return true
})
assert.equal(await Secret.destroy('my_key'), true)
assert.equal(await Secret.destroy(made.secretId), false)
assert.equal(await Secret.exists('my_key'), false)
await assert.rejects(Secret.getInfo('my_key'), SecretNotFoundError)
await assert.rejects(Secret.update('my_key', value), SecretNotFoundError)

assert.equal(Secret.fill('my_key'), '${e2b.secrets.my_key}')
for (const bad of ['', 'a}b', 'a{b', 'a\nb']) assert.throws(() => Secret.fill(bad), undefined, JSON.stringify(bad))
assert.deepEqual(Secret.iamToken({ audience: 'a', tokenType: 'JWT-SVID' }), { audience: 'a', tokenType: 'JWT-SVID' })
console.log('done')
