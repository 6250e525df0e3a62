// Languages, results and variables of the code interpreter, through its SDK. The template
// code-interpreter-v1 must be built.
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { create, request, run } from './execution.mjs'

let sandbox
before(async () => { sandbox = await create({ envs: { FROM_SANDBOX: 'sandbox' } }) })

test('runs Python, reports each thing once, and keeps its state', async () => {
  const seen = { results: 0, stdout: [], stderr: [], errors: [] }
  const callbacks = { onResult: () => seen.results++, onStdout: (o) => seen.stdout.push(o.line), onStderr: (o) => seen.stderr.push(o.line), onError: (e) => seen.errors.push(e.name) }
  const first = await run(sandbox, 'import sys\nx = 1\nprint("hello")\nprint("oops", file=sys.stderr)\nx', callbacks)
  assert.equal(first.text, '1')
  assert.deepEqual(first.logs, { stdout: ['hello\n'], stderr: ['oops\n'] })
  assert.equal((await run(sandbox, 'x += 1; x')).executionCount, 2)
  const { error, results } = await sandbox.runCode('xyz', callbacks)
  assert.deepEqual([error.name, error.value], ['NameError', "name 'xyz' is not defined"])
  assert.doesNotMatch(error.traceback, /\u001b/)
  assert.deepEqual(results, [])
  assert.deepEqual(seen, { results: 1, stdout: ['hello\n'], stderr: ['oops\n'], errors: ['NameError'] })
  assert.equal((await run(sandbox, 'for i in range(3): print(i)')).logs.stdout.join(''), '0\n1\n2\n')
})

test('begins in the home directory in every language', async () => {
  const results = {
    js: ['process.cwd()', '/home/user'], ts: ['process.cwd()', '/home/user'], typescript: ['process.cwd()', '/home/user'],
    r: ['getwd()', '[1] "/home/user"'], java: ['System.getProperty("user.dir")', '/home/user'],
  }
  for (const [language, [code, text]] of Object.entries(results)) assert.equal((await run(sandbox, code, { language })).text, text, language)
  for (const [language, code] of [['python', 'import os; print(os.getcwd())'], ['python', '!pwd'], ['bash', 'pwd']]) {
    const { logs } = await run(sandbox, code, { language })
    assert.equal(logs.stdout.join('').trim(), '/home/user', code)
  }
})

test('changes the directory of a Python context', async () => {
  await run(sandbox, 'import os; os.makedirs("/tmp/elsewhere", exist_ok=True)\n%cd /tmp/elsewhere')
  assert.equal((await run(sandbox, 'os.getcwd()')).text, '/tmp/elsewhere')
  await run(sandbox, '%cd /home/user')
})

test('speaks JavaScript and TypeScript', async () => {
  assert.deepEqual((await run(sandbox, 'console.log("Hello World!")', { language: 'js' })).logs.stdout, ['Hello World!\n'])
  assert.equal((await run(sandbox, 'import { basename } from "node:path"\nbasename("/a/b.txt")', { language: 'js' })).text, 'b.txt')
  assert.equal((await run(sandbox, 'async function five() { return 5 }\nawait five()', { language: 'javascript' })).text, '5')
  assert.equal((await run(sandbox, 'interface P { x: number }\nconst p: P = { x: 7 }\nawait Promise.resolve(p.x)', { language: ' TypeScript ' })).text, '7')
  assert.equal((await sandbox.runCode('throw new TypeError("no")', { language: 'js' })).error.name, 'TypeError')
  assert.equal((await sandbox.runCode('p', { language: 'js' })).error.name, 'ReferenceError')
})

test('speaks R, Java and bash', async () => {
  assert.deepEqual((await run(sandbox, 'print("Hello, World!")', { language: 'r' })).logs.stdout, ['[1] "Hello, World!"\n'])
  const { logs } = await run(sandbox, 'System.out.println("Hello, World!");', { language: 'java' })
  assert.equal(logs.stdout[0].trimEnd(), 'Hello, World!')
  assert.match((await sandbox.runCode('undefinedName', { language: 'java' })).error.traceback, /^[^\u001b]*cannot find symbol[^\u001b]*$/)
  assert.equal((await run(sandbox, 'for i in 1 2; do echo $i; done', { language: 'bash' })).logs.stdout.join(''), '1\n2\n')
  await assert.rejects(sandbox.runCode('1', { language: 'klingon' }), /500/)
})

test('says that input for bash is incomplete, and keeps its shell', async () => {
  await run(sandbox, 'kept=1', { language: 'bash' })
  for (const code of ['if true; then', 'echo "abc', 'cat <<END\nx']) {
    const { error } = await sandbox.runCode(code, { language: 'bash' })
    assert.equal(error?.name, 'IncompleteInput', code)
    assert.deepEqual((await run(sandbox, 'echo $kept', { language: 'bash' })).logs.stdout, ['1\n'])
  }
})

test('gives a new shell the variables of the sandbox', async () => {
  await sandbox.runCode('own=1; exit', { language: 'bash' })
  assert.deepEqual((await run(sandbox, 'echo "$FROM_SANDBOX $own"', { language: 'bash' })).logs.stdout, ['sandbox \n'])
})

test('gives results in all forms', async () => {
  const frame = (await run(sandbox, 'import pandas as pd\npd.DataFrame({"a": [1, 2, 3], "t": pd.to_datetime(["2026-01-01"] * 3)})')).results[0]
  assert.deepEqual(frame.data, { a: [1, 2, 3], t: Array(3).fill('2026-01-01T00:00:00') })
  assert.match(frame.html, /<table/)
  const odd = (await run(sandbox, 'import decimal\npd.DataFrame({"delta": [pd.Timedelta("1d")], "period": [pd.Period("2026-01")], "decimal": [decimal.Decimal("1.5")], "complex": [1j], "list": [[1, 2]]})')).results[0]
  assert.deepEqual(odd.data, { delta: ['1 days 00:00:00'], period: ['2026-01'], decimal: ['1.5'], complex: ['1j'], list: [[1, 2]] })
  assert.match(odd.html, /<table/)
  assert.deepEqual((await run(sandbox, '{"a": [1, {"b": None}], 2: "x"}')).results[0].json, { a: [1, { b: null }], 2: 'x' })
  assert.deepEqual((await run(sandbox, '[1, 2]')).results[0].json, [1, 2])
  assert.ok((await run(sandbox, 'list(range(5000))')).text.endsWith('4999]'))
  assert.equal((await run(sandbox, '"quoted"')).text, 'quoted')
})

test('gives what was displayed, and no more', async () => {
  const raw = { latex: 'text/latex', markdown: 'text/markdown', svg: 'image/svg+xml', html: 'text/html', javascript: 'application/javascript' }
  for (const [format, mime] of Object.entries(raw)) {
    const { results } = await run(sandbox, `from IPython.display import display\ndisplay({${JSON.stringify(mime)}: "<x>"}, raw=True)`)
    assert.deepEqual(results.map((r) => r.formats()), [[format]])
    assert.equal(results[0][format], '<x>')
    assert.equal(results[0].isMainResult, false)
  }
  const { results } = await run(sandbox, 'display({"application/x-own": "mine"}, raw=True)')
  assert.deepEqual(results[0].raw.extra, { 'application/x-own': 'mine' }) // the SDK's `extra` leaves it out
})

test('shows images, in code that is indented', async () => {
  for (const code of ['    image.show()', '    image', '    image.save("test.png")']) {
    for (const envs of [undefined, { INDENTED: 'yes' }]) {
      const { results } = await run(sandbox, `\n    from PIL import Image\n    image = Image.new("RGB", (60, 30), color="red")\n${code}\n    `, { envs })
      assert.ok(results[0]?.png?.startsWith('iVBOR'), code)
    }
  }
})

test('sets variables of the sandbox and of one call', async () => {
  const read = {
    python: (n) => `import os; print(os.getenv("${n}", "none"))`, js: (n) => `console.log(process.env.${n} ?? "none")`,
    ts: (n) => `console.log(process.env.${n} ?? "none")`, r: (n) => `cat(Sys.getenv("${n}", "none"))`,
    java: (n) => `System.out.println(System.getProperty("${n}", "none"))`, bash: (n) => `echo \${${n}:-none}`,
  }
  const value = 'it\'s "odd" \\ $HOME'
  for (const [language, code] of Object.entries(read)) {
    const print = async (name, envs) => (await run(sandbox, code(name), { language, envs })).logs.stdout.join('').trim()
    assert.equal(await print('FROM_SANDBOX'), 'sandbox', language)
    assert.equal(await print('MINE', { MINE: value }), value, language)
    assert.equal(await print('MINE'), 'none', language)
    assert.equal(await print('FROM_SANDBOX', { FROM_SANDBOX: 'call' }), 'call', language)
    assert.equal(await print('FROM_SANDBOX'), 'sandbox', language)
  }
  const paths = []
  for (const envs of [undefined, { PATH: '/usr/bin:/bin' }, undefined]) paths.push((await run(sandbox, 'echo $PATH', { language: 'bash', envs })).logs.stdout.join(''))
  assert.equal(paths[1], '/usr/bin:/bin\n')
  assert.equal(paths[2], paths[0], 'the kernel has its own path again')
})

test('keeps the names of Python code that runs with variables', async () => {
  await run(sandbox, 'import os', { envs: { MINE: '1' } })
  assert.equal((await run(sandbox, 'os.getenv("MINE", "none")')).text, 'none')
})

test('answers as its routes are described', async () => {
  const plain = async (path, init) => {
    const answer = await request(sandbox, path, init)
    assert.equal(answer.headers.get('access-control-allow-origin'), '*', path)
    return [answer.status, await answer.text()]
  }
  const post = (body) => ({ method: 'POST', body: JSON.stringify(body) })
  assert.deepEqual(await plain('/health?source=ci'), [200, '"OK"'])
  assert.deepEqual(await plain('/execute', post({ code: '1', context_id: 'x', language: 'python' })), [400, 'Only one of context_id or language can be provided'])
  assert.deepEqual(await plain('/execute', post({ code: '1', context_id: 'x', language: null, unknown: [] })), [404, 'Context x not found'])
  assert.deepEqual(await plain('/contexts/x', { method: 'DELETE' }), [404, 'Context x not found'])
  assert.deepEqual(await plain('/contexts/x/restart', { method: 'POST' }), [404, 'Context x not found'])
  for (const body of [{ code: 1 }, { language: 'python' }, { code: '1', env_vars: { A: 1 } }, { code: '1', language: 5 }]) {
    assert.equal((await plain('/execute', post(body)))[0], 400, JSON.stringify(body))
  }
  const preflight = await request(sandbox, '/execute', { method: 'OPTIONS', headers: { Origin: 'https://site.test', 'Access-Control-Request-Method': 'POST' } })
  assert.equal(preflight.status, 200)
  assert.equal(preflight.headers.get('access-control-allow-headers'), '*')
  const [status, lines] = await plain('/execute', post({ code: 'x = 1; print("a"); x', env_vars: null, context_id: null }))
  assert.equal(status, 200)
  const [count, stdout, result, end, ...rest] = lines.trim().split('\n').map((line) => JSON.parse(line))
  assert.equal(count.type, 'number_of_executions')
  assert.match(stdout.timestamp, /^\d{4}-\d\d-\d\dT.*\+00:00$/)
  assert.deepEqual({ ...stdout, timestamp: '' }, { type: 'stdout', text: 'a\n', timestamp: '' })
  assert.deepEqual(result, { type: 'result', text: '1', extra: {}, is_main_result: true })
  assert.deepEqual([end, rest], [{ type: 'end_of_execution' }, []])
})
