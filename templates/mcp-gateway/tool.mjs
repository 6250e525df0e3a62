/**
 * A tool as the protocol wants it: its input is an object. Some servers leave that out of a schema
 * that is made of alternatives, and clients by the book refuse the whole list then.
 */
export function byTheBook(tool) {
  if (tool.inputSchema?.type === 'object') return tool
  return { ...tool, inputSchema: { ...tool.inputSchema, type: 'object' } }
}
