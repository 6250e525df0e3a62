// What features share: the release under test, its sandboxes, and the list of features.
import assert from 'node:assert/strict'

/** The package under test, and what names of templates begin with. */
export const [library, prefix] = process.argv.slice(2)
export const sdk = await import(library)
export const { Sandbox, Template } = sdk
/** In ms. */
export const minutes = 60_000

export class Missing extends Error {}

/** Fails as missing unless the release has all of these. */
export function needs(...things) {
  if (things.some((thing) => thing === undefined)) throw new Missing('not in this release')
}

export const features = []
/** Adds a feature; those that take longer than its limit in ms have failed. */
export const feature = (name, run, limit = minutes) => features.push({ name, run, limit })

/** Sandboxes that are killed at the end. */
export const made = []
/** Creates a sandbox of the base template that is killed at the end. */
export async function create(options = {}, template = 'base') {
  const sandbox = await Sandbox.create(template, { timeoutMs: 5 * minutes, ...options })
  made.push(sandbox)
  return sandbox
}

let common
/** What its metadata is: releases escape the characters of a query in different ways. */
export const metadata = { 'made by': `${prefix} & 100%` }
/** The sandbox of features that do no harm to it. */
export const ours = () => (common ??= create({ metadata, envs: { GREETING: 'hello' } }))

/** Resolves when probe returns a truthy value, which it returns. */
export async function eventually(probe, what) {
  for (const end = Date.now() + minutes / 2; ;) {
    const value = await probe()
    if (value) return value
    assert.ok(Date.now() < end, `did not happen: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

export const output = async (sandbox, command, options) => (await sandbox.commands.run(command, options)).stdout
/** A check of assert.rejects: the error is of one of these classes, of those that the release has. */
export const isError = (...names) => (error) => names.some((name) => sdk[name] && error instanceof sdk[name])
export const notFound = isError('NotFoundError', 'SandboxNotFoundError', 'FileNotFoundError')

/** A process that outlives the call that starts it, and only as long as memory is kept. */
export const sleeper = (sandbox) => sandbox.commands.run('sleep 1000', { background: true, timeoutMs: 0 })
/** Tells whether it still runs. */
export const sleeps = async (sandbox, pid) => (await sandbox.commands.list()).some((p) => p.pid === pid)
