// Settings that servers of the catalogue start with, without an account anywhere. A server only
// has to start and list its tools; using them would need what its setting stands for.

const nowhere = 'http://127.0.0.1:9' // nobody listens there

/** A file that a setting names. */
export const kubeconfig = {
  path: '/home/user/kubeconfig',
  text: JSON.stringify({
    apiVersion: 'v1', kind: 'Config', 'current-context': 'a', users: [{ name: 'a', user: {} }],
    clusters: [{ name: 'a', cluster: { server: nowhere } }], contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
  }),
}

/** What cannot be any text. */
const own = {
  atlassian: { jiraUrl: nowhere, jiraUsername: 'dummy', jiraApiToken: 'dummy' }, // of what it has an address, it has tools
  clickhouse: { host: '127.0.0.1', user: 'default', password: 'dummy' },
  kubernetes: { configPath: kubeconfig.path },
  couchbase: { cbConnectionString: 'couchbase://127.0.0.1', cbUsername: 'dummy', cbPassword: 'dummy' },
  dynatrace: { url: 'https://abc12345.apps.dynatrace.com', oauthClientId: 'dt0s02.DUMMY', oauthClientSecret: 'dt0s02.DUMMY.DUMMY' },
  filesystem: { paths: ['/home/user'] },
  mongodb: { mdbMcpConnectionString: 'mongodb://127.0.0.1:27017/' },
  neo4jCypher: { url: 'bolt://127.0.0.1:7687', username: 'neo4j', neo4jPassword: 'dummy' },
  neo4jMemory: { url: 'bolt://127.0.0.1:7687', username: 'neo4j', neo4jPassword: 'dummy' },
  redis: { host: '127.0.0.1' },
  stripe: { secretKey: 'sk_test_dummy' },
}

/** Settings for a server: what it requires, and nothing else. */
export function settingsOf(name, { env = {}, args = [] }) {
  if (own[name]) return own[name]
  const keys = [...Object.values(env), ...args.flatMap((arg) => arg.setting ?? arg.each ?? [])]
  return Object.fromEntries(keys.filter((key) => !key.endsWith('?')).map((key) => [key, /url$/i.test(key) ? nowhere : 'dummy']))
}
