// What is particular to JavaScript and TypeScript, which run in Deno's kernel. The template
// code-interpreter-v1 must be built.
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { create, run } from './execution.mjs'

let sandbox
before(async () => { sandbox = await create() })

test('gives all output and the result of a cell that prints much', async () => {
  const lines = Array.from({ length: 20 }, (_, i) => `${i}\n`).join('')
  for (const language of ['js', 'ts']) {
    for (let round = 0; round < 10; round++) { // without special care, output is lost in most rounds
      const { logs, text } = await run(sandbox, 'for (let i = 0; i < 20; i++) console.log(i)\n42', { language })
      assert.deepEqual([logs.stdout.join(''), text], [lines, '42'], language)
      const { error, logs: failed } = await sandbox.runCode('for (let i = 0; i < 20; i++) console.log(i)\nthrow new RangeError("no")', { language })
      assert.deepEqual([failed.stdout.join(''), error?.name], [lines, 'RangeError'], language)
    }
  }
})

test('shows results that JSON does not have as Node does', async () => {
  const texts = {
    'NaN': 'NaN', '-0': '-0', '10n': '10n', '1 / 0': 'Infinity', '-1 / 0': '-Infinity', 'null': 'null', 'undefined': undefined,
    'const big = 2n ** 64n\nbig // the same': '18446744073709551616n', 'await Promise.resolve(-0);': '-0', '[NaN, -0, 1n]': '[ NaN, -0, 1n ]',
  }
  for (const [code, text] of Object.entries(texts)) {
    for (const language of ['js', 'ts']) assert.equal((await run(sandbox, code, { language })).text, text, `${language}: ${code}`)
  }
})

test('awaits in cells as in modules', async () => {
  const cells = {
    'let sum = 0\nfor await (const n of [Promise.resolve(1), 2]) sum += n\nsum': '3',
    'async function* twice() { yield 3; yield 4 }\nfor await (const n of twice()) sum += n\nsum': '10',
    'const later = async (x) => { await null; return x }\nawait later(await later(5)) + await later(6)': '11',
    '`${await later(7)}`': '7',
  }
  for (const [code, text] of Object.entries(cells)) assert.equal((await run(sandbox, code, { language: 'js' })).text, text, code)
  const { error } = await sandbox.runCode('await Promise.reject(new RangeError("no"))', { language: 'js' })
  assert.deepEqual([error.name, error.value], ['RangeError', 'no'])
})

test('says what is wrong with code that cannot be parsed', async () => {
  for (const [language, code, value] of [['js', 'console.log("ran")\nlet x = ;', 'Expression expected (line 2, column 9)'], ['ts', 'const n: number = (', /line 1/]]) {
    const { error, logs } = await sandbox.runCode(code, { language })
    assert.equal(error.name, 'SyntaxError')
    assert.match(error.value, value instanceof RegExp ? value : new RegExp(value.replace(/[()]/g, '\\$&')))
    assert.match(error.traceback, /line \d+, column \d+$/)
    assert.deepEqual(logs.stdout, [])
  }
  const { error } = await sandbox.runCode('throw new Error("Execution failed")', { language: 'js' })
  assert.equal(error.name, 'Error')
})

test('gives what is written to the streams of Node', async () => {
  const { logs } = await run(sandbox, 'process.stdout.write("out\\n"); process.stderr.write(Buffer.from("err\\n"))\nawait new Promise((done) => process.stdout.write("more", done))', { language: 'js' })
  assert.deepEqual([logs.stdout.join(''), logs.stderr.join('')], ['out\nmore', 'err\n'])
})

test('tells of errors outside of cells, and goes on', async () => {
  const settled = 'await new Promise((done) => setTimeout(done, 50))'
  const rejected = await run(sandbox, `Promise.reject(new Error("nobody waits"))\n${settled}\n1`, { language: 'js' })
  assert.equal(rejected.text, '1')
  assert.match(rejected.logs.stderr.join(''), /Uncaught \(in promise\) Error: nobody waits/)
  const thrown = await run(sandbox, `setTimeout(() => { throw new Error("too late") })\n${settled}\n2`, { language: 'js' })
  assert.equal(thrown.text, '2')
  assert.match(thrown.logs.stderr.join(''), /Uncaught Error: too late/)
  assert.equal((await sandbox.runCode(`${settled}\nthrow new TypeError("no")`, { language: 'js' })).error.name, 'TypeError')
})

test('has what CommonJS modules have', async () => {
  assert.equal((await run(sandbox, 'const path = require("path")\npath.basename(__filename) && module.exports && path.basename(__dirname)', { language: 'js' })).text, 'user')
  const context = await sandbox.createCodeContext({ language: 'js', cwd: '/tmp' })
  assert.equal((await run(sandbox, '__dirname', { context })).text, '/tmp')
})
