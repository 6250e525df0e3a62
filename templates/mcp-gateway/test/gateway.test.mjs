// What of the gateway needs no package and no sandbox; templates_test.go runs it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { configure, find, Refused } from '../catalogue.mjs'
import { named } from '../names.mjs'
import { byTheBook } from '../tool.mjs'

test('settings become arguments and environment', () => {
  assert.deepEqual(configure(find('filesystem'), { paths: ['/a', '/b'] }).args, ['/a', '/b'])
  assert.deepEqual(configure(find('brave'), { apiKey: 'k' }), { args: ['--transport', 'stdio'], env: { BRAVE_API_KEY: 'k' } })
  assert.deepEqual(configure(find('apify'), { apifyToken: 't', tools: 'actors' }).args, ['--tools', 'actors'])
  assert.deepEqual(configure(find('apify'), { apifyToken: 't' }).args, [])
  assert.deepEqual(configure(find('redis'), { host: 'h', port: 1, ssl: false }).env, { REDIS_HOST: 'h', REDIS_PORT: '1', REDIS_SSL: 'false' })
})

test('settings that are missing or of another kind are refused', () => {
  assert.throws(() => configure(find('brave'), {}), /'brave' needs 'apiKey'/)
  for (const settings of [null, [], 'x']) assert.throws(() => configure(find('time'), settings), Refused)
  for (const settings of [{}, { runCmd: '' }, { runCmd: 'x', installCmd: 1 }, { runCmd: 'x', envs: { A: 1 } }, { runCmd: 'x', envs: null }]) {
    assert.throws(() => configure(find('github/o/r'), settings), Refused, JSON.stringify(settings))
  }
})

test('names that cannot be had are refused', () => {
  for (const name of ['nothing', 'constructor', '__proto__', '../x', 'playwright', 'mavenTools', '',
    'github/', 'github/o', 'github/o/r/x', 'github/../r', 'github/o/..', 'github/o/r;x']) {
    assert.throws(() => find(name), Refused, name)
  }
  assert.equal(find('github/o-1/r.x').github, 'https://github.com/o-1/r.x.git')
})

test('names that clash get their servers in front', () => {
  const server = (name, ...tools) => ({ name, has: { tools: tools.map((tool) => ({ name: tool })) } })
  const one = server('one', 'read', 'a'), two = server('github/o/two', 'read', 'b'), three = server('three', 'one_read')
  const found = named([one, two, three], 'tools')
  assert.deepEqual([...found.keys()], ['one_read_', 'a', 'github_o_two_read', 'b', 'one_read'])
  assert.equal(found.get('one_read_').upstream, one)
  assert.equal(found.get('one_read').upstream, three)
})

test('the input of a tool is an object', () => {
  const tool = { name: 'a', inputSchema: { type: 'object', properties: {} } }
  assert.equal(byTheBook(tool), tool)
  assert.deepEqual(byTheBook({ name: 'a', inputSchema: { anyOf: [] } }).inputSchema, { anyOf: [], type: 'object' })
  assert.deepEqual(byTheBook({ name: 'a' }).inputSchema, { type: 'object' })
})
