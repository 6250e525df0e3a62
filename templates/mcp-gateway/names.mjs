// What several servers have, under names that are theirs alone.

/**
 * Names what several servers have, by names of its own: a name that two of them use gets the
 * name of its server in front.
 * @param {{name: string, has: Record<string, {name: string}[]>}[]} upstreams
 * @param {'tools' | 'prompts'} kind
 * @returns {Map<string, {upstream: object, item: {name: string}}>}
 */
export function named(upstreams, kind) {
  const uses = new Map()
  for (const { has } of upstreams) for (const { name } of has[kind]) uses.set(name, (uses.get(name) ?? 0) + 1)
  const found = new Map()
  for (const upstream of upstreams) {
    for (const item of upstream.has[kind]) {
      let name = uses.get(item.name) > 1 ? `${upstream.name.replace(/[^A-Za-z0-9_-]/g, '_')}_${item.name}` : item.name
      while (found.has(name) || (name !== item.name && uses.has(name))) name += '_'
      found.set(name, { upstream, item })
    }
  }
  return found
}
