// Runs in every Deno kernel before user code, as a silent cell.
{
  const { core } = Deno[Deno.internal]
  const { error } = console
  const inspect = Deno.inspect

  // Deno's kernel sends what is printed to the console, but Node's streams write to the
  // process's own output, which nobody reads.
  const writer = (isError) => {
    const decoder = new TextDecoder()
    return (chunk, encoding, done = encoding) => {
      core.print(typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true }), isError)
      if (typeof done === 'function') process.nextTick(done)
      return true
    }
  }
  process.stdout.write = writer(false)
  process.stderr.write = writer(true)

  // Reports errors outside of cells. Otherwise Deno's kernel says nothing about them, and
  // does not answer a later cell that fails.
  globalThis.addEventListener('unhandledrejection', (event) => {
    event.preventDefault()
    error('Uncaught (in promise)', event.reason)
  })
  globalThis.addEventListener('error', (event) => {
    event.preventDefault()
    error('Uncaught', event.error)
  })

  // These are as in a CommonJS module in the context's directory.
  const file = `${process.cwd()}/cell.js`
  globalThis.module = { exports: {}, id: file, filename: file }
  globalThis.exports = module.exports
  globalThis.require = process.getBuiltinModule('node:module').createRequire(file)
  globalThis.__filename = file
  globalThis.__dirname = process.cwd()

  // Math.random draws from a pool, because V8's own generator cannot be seeded. Whoever takes
  // 64 KiB makes Deno's generator of random values ask the kernel for a new seed. UUIDs have a
  // generator of their own, which does so as well.
  const getRandomValues = crypto.getRandomValues.bind(crypto)
  const randomUUID = crypto.randomUUID.bind(crypto)
  const pool = new Uint32Array(16384)
  let left = 0
  const fill = () => {
    getRandomValues(pool)
    left = pool.length
  }
  Math.random = function random() {
    if (left < 2) fill()
    const high = pool[--left] >>> 5
    return (high * 2 ** 26 + (pool[--left] >>> 6)) / 2 ** 53
  }

  // What the server wraps parts of cells in, and calls itself; see server/interpreter/cells.py.
  const waiting = new Set()
  Deno.addSignalListener('SIGINT', () => {
    for (const interrupt of waiting) interrupt(new Error('Interrupted'))
  })
  const awaited = (value) => new Promise((resolve, reject) => {
    waiting.add(reject)
    Promise.resolve(value).then(resolve, reject).finally(() => waiting.delete(reject))
  })
  const iterated = (values) => {
    const all = (async function* () { yield* values })()
    const next = all.next.bind(all)
    all.next = (value) => awaited(next(value))
    return all
  }
  // Deno drops results that JSON does not have, so these are sent as their text.
  const shown = (value) => {
    const kept = value !== null && typeof value !== 'bigint' && (typeof value !== 'number' || (Number.isFinite(value) && !Object.is(value, -0)))
    return kept ? value : { [Symbol.for('Jupyter.display')]: () => ({ 'text/plain': inspect(value) }) }
  }
  const reseed = () => {
    fill()
    fill()
    for (let n = 0; n <= 2 * pool.byteLength; n += 16) randomUUID()
  }
  Object.defineProperty(globalThis, '__cell', { value: Object.freeze({ awaited, iterated, shown, reseed }) })
}
