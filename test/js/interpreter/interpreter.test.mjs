// The code interpreter SDK against the template code-interpreter-v1, which must be built.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Sandbox } from '@e2b/code-interpreter'

let sandbox
before(async () => { sandbox = await Sandbox.create({ timeoutMs: 600_000, envs: { FROM_SANDBOX: 'sandbox' } }) })
after(() => sandbox?.kill())

test('runs Python and keeps its state', async () => {
  const seen = { results: 0, stdout: [], stderr: [] }
  const first = await sandbox.runCode('import sys\nx = 1\nprint("hello")\nprint("oops", file=sys.stderr)\nx', {
    onResult: () => seen.results++, onStdout: (o) => seen.stdout.push(o.line), onStderr: (o) => seen.stderr.push(o.line) })
  assert.equal(first.text, '1')
  assert.deepEqual(first.logs, { stdout: ['hello\n'], stderr: ['oops\n'] })
  assert.deepEqual(seen, { results: 1, stdout: ['hello\n'], stderr: ['oops\n'] })
  const second = await sandbox.runCode('x += 1; x')
  assert.equal(second.text, '2')
  assert.equal(second.executionCount, first.executionCount + 1)
})

test('reports errors once', async () => {
  const errors = []
  const { error, results } = await sandbox.runCode('xyz', { onError: (e) => errors.push(e.name) })
  assert.equal(error.name, 'NameError')
  assert.match(error.value, /name 'xyz' is not defined/)
  assert.doesNotMatch(error.traceback, /\u001b/)
  assert.deepEqual(errors, ['NameError'])
  assert.deepEqual(results, [])
})

test('knows all languages', async () => {
  const expected = {
    python: ['import os; os.getcwd()', '/home/user'], javascript: ['process.cwd()', '/home/user'], js: ['const a: number = 41; a + 1', '42'],
    typescript: ['interface P { x: number }\nconst p: P = { x: 7 }\nawait Promise.resolve(p.x)', '7'],
    r: ['getwd()', '[1] "/home/user"'], java: ['System.getProperty("user.dir")', '/home/user'],
  }
  for (const [language, [code, text]] of Object.entries(expected)) {
    const execution = await sandbox.runCode(code, { language })
    assert.equal(execution.error, undefined, `${language}: ${execution.error?.value}`)
    assert.equal(execution.text, text, language)
  }
  const printed = {
    javascript: ['console.log("Hello World!")', 'Hello World!\n'], r: ['print("Hello, World!")', '[1] "Hello, World!"\n'],
    java: ['System.out.println("Hello, World!")', 'Hello, World!'], bash: ['pwd', '/home/user\n'],
  }
  for (const [language, [code, text]] of Object.entries(printed)) {
    const { logs, error } = await sandbox.runCode(code, { language })
    assert.equal(error, undefined, `${language}: ${error?.value}`)
    assert.equal(logs.stdout[0].trimEnd(), text.trimEnd(), language)
  }
})

test('imports modules in JavaScript', async () => {
  const { text, error } = await sandbox.runCode('import { basename } from "node:path"\nbasename("/a/b.txt")', { language: 'js' })
  assert.equal(error, undefined)
  assert.equal(text, 'b.txt')
  const failed = await sandbox.runCode('throw new TypeError("no")', { language: 'js' })
  assert.equal(failed.error.name, 'TypeError')
})

test('gives results in all forms', async () => {
  const frame = (await sandbox.runCode('import pandas as pd\npd.DataFrame({"a": [1, 2, 3], "t": pd.to_datetime(["2026-01-01"] * 3)})')).results[0]
  assert.deepEqual(frame.data.a, [1, 2, 3])
  assert.equal(frame.data.t[0], '2026-01-01T00:00:00')
  assert.match(frame.html, /<table/)
  const json = (await sandbox.runCode('{"a": [1, {"b": None}], 2: "x"}')).results[0]
  assert.deepEqual(json.json, { a: [1, { b: null }], 2: 'x' })
  assert.deepEqual((await sandbox.runCode('[1, 2]')).results[0].json, [1, 2])
  const latex = (await sandbox.runCode('from IPython.display import display, Latex\ndisplay(Latex("$x$"))\nNone')).results
  assert.deepEqual(latex[0].formats().filter((f) => f !== 'text'), ['latex'])
  const long = await sandbox.runCode('list(range(5000))')
  assert.ok(long.text.endsWith('4999]'), long.text.slice(-40))
  const text = await sandbox.runCode('"quoted"')
  assert.equal(text.text, 'quoted')
})

test('draws charts', async () => {
  const { results } = await sandbox.runCode(`
import matplotlib.pyplot as plt
plt.plot([1, 2, 3], [4, 5, 6], label="up")
plt.title("Title"); plt.xlabel("x (s)")
plt.show()
x = 5
x`)
  assert.equal(results.length, 2)
  const [figure, five] = results
  assert.ok(figure.png.startsWith('iVBOR'))
  assert.ok(figure.text.startsWith('<Figure'))
  assert.deepEqual(figure.extra, {})
  assert.equal(figure.chart.type, 'line')
  assert.equal(figure.chart.title, 'Title')
  assert.equal(figure.chart.x_unit, 's')
  assert.deepEqual(figure.chart.elements[0].points, [[1, 4], [2, 5], [3, 6]])
  assert.equal(five.text, '5')
  const bar = await sandbox.runCode('plt.bar(["a", "b"], [1, 2]); plt.show()')
  assert.equal(bar.results[0].chart.type, 'bar')
})

test('shows images', async () => {
  for (const code of ['    image.show()', '    image', '    image.save("test.png")']) {
    const { results, error } = await sandbox.runCode(`    from PIL import Image\n    image = Image.new("RGB", (60, 30), color="red")\n${code}`)
    assert.equal(error, undefined, error?.traceback)
    assert.ok(results[0]?.png, code)
  }
})

test('sets variables of the sandbox and of one call', async () => {
  const read = {
    python: (n) => `import os; print(os.getenv("${n}", "none"))`, js: (n) => `console.log(process.env.${n} ?? "none")`,
    r: (n) => `cat(Sys.getenv("${n}", "none"))`, java: (n) => `System.out.println(System.getProperty("${n}", "none"))`, bash: (n) => `echo \${${n}:-none}`,
  }
  const value = 'it\'s "odd" \\ $HOME'
  for (const [language, code] of Object.entries(read)) {
    const print = async (name, envs) => {
      const { logs, error } = await sandbox.runCode(code(name), { language, envs })
      assert.equal(error, undefined, `${language}: ${error?.value}`)
      return logs.stdout.join('').trim()
    }
    assert.equal(await print('FROM_SANDBOX'), 'sandbox', language)
    assert.equal(await print('MINE', { MINE: value }), value, language)
    assert.equal(await print('MINE'), 'none', language)
    assert.equal(await print('FROM_SANDBOX', { FROM_SANDBOX: 'call' }), 'call', language)
    assert.equal(await print('FROM_SANDBOX'), 'sandbox', language)
  }
})

test('keeps contexts apart', async () => {
  const defaults = await sandbox.listCodeContexts()
  assert.deepEqual(defaults.slice(0, 2).map((c) => c.language), ['python', 'javascript'])
  const context = await sandbox.createCodeContext({ cwd: '/root', language: 'python' })
  assert.deepEqual((await sandbox.listCodeContexts()).at(-1), context)
  assert.equal(context.cwd, '/root')
  assert.equal((await sandbox.runCode('import os; os.getcwd()', { context })).text, '/root')
  await sandbox.runCode('only_here = 1', { context })
  assert.equal((await sandbox.runCode('only_here')).error.name, 'NameError')
  await sandbox.restartCodeContext(context)
  const gone = await sandbox.runCode('only_here', { context })
  assert.equal(gone.error.value, "name 'only_here' is not defined")
  await sandbox.removeCodeContext(context)
  await assert.rejects(sandbox.runCode('1', { context }), /not found/)
  await assert.rejects(sandbox.runCode('1', { context: defaults[0], language: 'python' }))
  await assert.rejects(sandbox.runCode('1', { language: 'klingon' }), /500/)
})

test('gives up what its client gives up', async () => {
  await sandbox.runCode('kept = 1')
  await assert.rejects(sandbox.runCode('import time; time.sleep(300)', { timeoutMs: 2000 }), /timed out/)
  const started = Date.now()
  assert.equal((await sandbox.runCode('kept + 1')).text, '2')
  assert.ok(Date.now() - started < 5000)
  await assert.rejects(sandbox.runCode('while (true) {}', { language: 'js', timeoutMs: 1000 }), /timed out/)
  assert.equal((await sandbox.runCode('1 + 1', { language: 'js', timeoutMs: 20_000 })).text, '2')
})

test('survives a killed kernel and a killed server', async () => {
  const { error } = await sandbox.runCode('import os; os.kill(os.getpid(), 9)')
  assert.equal(error.name, 'ContextRestarting')
  assert.equal((await sandbox.runCode('1 + 1')).text, '2')
  await sandbox.commands.run("kill -9 $(pgrep -f 'python -m interpreter')", { user: 'root' }).catch(() => {})
  const end = Date.now() + 30_000
  for (;;) {
    const ok = (await sandbox.commands.run('curl -s -o /dev/null -w "%{http_code}" http://localhost:49999/health || true')).stdout === '200'
    if (ok) break
    assert.ok(Date.now() < end, 'the server is not back')
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
  assert.equal((await sandbox.runCode('1 + 1')).text, '2')
})

test('works in pauses, with private traffic, and after a connect', async () => {
  await sandbox.runCode('kept = "yes"')
  await sandbox.pause()
  const again = await Sandbox.connect(sandbox.sandboxId)
  assert.equal((await again.runCode('kept')).text, 'yes')
  const secret = await Sandbox.create({ secure: true, network: { allowPublicTraffic: false }, envs: { FROM_SANDBOX: 'private' } })
  try {
    assert.equal((await secret.runCode('import os; os.environ["FROM_SANDBOX"]')).text, 'private')
  } finally {
    await secret.kill()
  }
})

test('says that the sandbox was killed during an execution', async () => {
  const own = await Sandbox.create()
  const running = assert.rejects(own.runCode('import time; time.sleep(60)'), /sandbox was killed|terminated|not found/i)
  await new Promise((resolve) => setTimeout(resolve, 1000))
  await own.kill()
  await running
})
