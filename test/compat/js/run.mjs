// Uses a release of the JavaScript SDK as its users do, and prints for each feature, as a
// line of JSON, what came of it.
//
// Usage: node run.mjs PACKAGE NAME, below a directory whose node_modules has the package.
// Names of templates begin with NAME. What a release does not have is asked for, not known
// from its number.
import { features, made, Missing } from './client.mjs'
import './lifecycle.mjs'
import './commands.mjs'
import './files.mjs'
import './templates.mjs'

/** Runs a feature within its limit. */
async function outcome({ run, limit }) {
  let timer
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`took longer than ${limit / 1000} s`)), limit) })
  try {
    await Promise.race([run(), late])
    return { outcome: 'ok' }
  } catch (error) {
    if (error instanceof Missing) return { outcome: 'n/a' }
    return { outcome: 'fails', why: `${error.name}: ${error.message}` }
  } finally {
    clearTimeout(timer)
  }
}

for (const each of features) console.log(JSON.stringify({ feature: each.name, ...await outcome(each) }))
await Promise.all(made.map((sandbox) => sandbox.kill().catch(() => {}))) // some have ended already
process.exit() // streams of what was killed may still be open
