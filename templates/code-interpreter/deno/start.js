// Runs in every Deno kernel before user code, as a silent cell.
{
  const { core } = Deno[Deno.internal]
  const { error } = console

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
}
