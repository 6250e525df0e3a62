import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { Sandbox, Volume, VolumeError, VolumePathNotFoundError } from 'e2b'
import { api, create, eventually } from './sandbox.mjs'

/** Makes a volume that is removed after the test. */
async function volume(t) {
  const made = await Volume.create(`v-${randomUUID()}`)
  t.after(() => Volume.destroy(made.volumeId))
  return made
}

describe('volumes', () => {
  test('are made, listed, found and removed', async () => {
    const name = `v-${randomUUID()}`
    const made = await Volume.create(name)
    assert.equal(made.name, name)
    await assert.rejects(Volume.create(name), new RegExp(`Volume with name '${name}' already exists`))
    await assert.rejects(Volume.create('not a name'), /Invalid volume name/)
    assert.ok((await Volume.list()).some((v) => v.volumeId === made.volumeId && v.name === name))
    const found = await Volume.getInfo(made.volumeId)
    assert.equal(found.name, name)
    const claims = JSON.parse(Buffer.from(found.token.split('.')[1], 'base64url'))
    assert.equal(claims.volid, made.volumeId)
    assert.equal(claims.sub, claims.teamid)
    assert.equal(claims.exp - claims.iat, 3600)
    assert.equal(await Volume.destroy(made.volumeId), true)
    assert.equal(await Volume.destroy(made.volumeId), false)
    await assert.rejects(Volume.getInfo(made.volumeId))
    await assert.rejects(made.writeFile('/late', 'x'), 'its token lets nobody write any more')
    assert.equal((await api('GET', '/volumes/not-an-id')).status, 400)
    assert.equal((await api('GET', `/volumes/${randomUUID()}`)).status, 404)
  })

  test('files are written and read in every form', async (t) => {
    const v = await volume(t)
    await v.writeFile('/text.txt', 'text')
    assert.equal(await v.readFile('/text.txt'), 'text')
    const bytes = new Uint8Array([0, 255, 10, 13])
    await v.writeFile('/bytes', bytes.buffer)
    assert.deepEqual(await v.readFile('/bytes', { format: 'bytes' }), bytes)
    await v.writeFile('/blob', new Blob(['blob']))
    assert.equal(await (await v.readFile('/blob', { format: 'blob' })).text(), 'blob')
    const big = 'x'.repeat(3_000_000)
    await v.writeFile('/stream', new Blob([big]).stream())
    let length = 0
    for await (const part of await v.readFile('/stream', { format: 'stream' })) length += part.length
    assert.equal(length, big.length)
    await v.writeFile('/empty', '')
    assert.equal(await v.readFile('/empty'), '')
    assert.equal((await v.readFile('/empty', { format: 'bytes' })).length, 0)
    await v.writeFile('/text.txt', 'again', { force: true })
    assert.equal(await v.readFile('/text.txt'), 'again')
    await assert.rejects(v.writeFile('/text.txt', 'once more', { force: false }), VolumeError)
    await assert.rejects(v.writeFile('/no/dir', 'x', { force: false }), VolumePathNotFoundError)
    await assert.rejects(v.readFile('/absent'), VolumePathNotFoundError)
  })

  test('owners and modes are as asked for', async (t) => {
    const v = await volume(t)
    const plain = await v.writeFile('/plain', 'x')
    assert.deepEqual([plain.uid, plain.gid, plain.mode, plain.type, plain.size], [9090, 9090, 0o666, 'file', 1])
    const asked = await v.writeFile('/asked', 'x', { uid: 1000, gid: 1001, mode: 0o640 })
    assert.deepEqual([asked.uid, asked.gid, asked.mode], [1000, 1001, 0o640])
    const dir = await v.makeDir('/dir', { uid: 5, gid: 6, mode: 0o1750 })
    assert.deepEqual([dir.uid, dir.gid, dir.mode, dir.type], [5, 6, 0o1750, 'directory'])
    const changed = await v.updateMetadata('/asked', { uid: 7, mode: 0o600 })
    assert.deepEqual([changed.uid, changed.gid, changed.mode], [7, 1001, 0o600])
    await assert.rejects(v.updateMetadata('/absent', { mode: 0o600 }), VolumePathNotFoundError)
  })

  test('directories are made, listed and removed', async (t) => {
    const v = await volume(t)
    await v.makeDir('/a/b/c', { force: true })
    await assert.rejects(v.makeDir('/a'), VolumeError)
    await assert.rejects(v.makeDir('/x/y'), VolumePathNotFoundError)
    await v.writeFile('/a/file', 'x')
    assert.deepEqual((await v.list('/')).map((e) => e.path), ['/a'])
    assert.deepEqual((await v.list('/a', { depth: 3 })).map((e) => e.path), ['/a/b', '/a/b/c', '/a/file'])
    await assert.rejects(v.list('/absent'), VolumePathNotFoundError)
    await assert.rejects(v.list('/', { depth: 11 }), /depth/)
    assert.equal(await v.exists('/a/file'), true)
    await v.remove('/a/file')
    assert.equal(await v.exists('/a/file'), false)
    await v.remove('/a')
    assert.equal(await v.exists('/a/b'), false)
    await assert.rejects(v.remove('/a'), VolumePathNotFoundError)
    await assert.rejects(v.remove('/'), VolumeError)
  })

  test('sandboxes share them, and links lead nobody out', async (t) => {
    const v = await volume(t)
    const mounts = { volumeMounts: { '/home/user/vol': v } }
    const [a, b] = await Promise.all([create(mounts), create({ volumeMounts: { '/mnt/v': v.name } })])
    assert.match((await a.commands.run('mount')).stdout, / \/home\/user\/vol /)
    await a.files.write('/home/user/vol/of-a', 'from a')
    assert.equal(await b.files.read('/mnt/v/of-a'), 'from a')
    await b.commands.run('echo from b > /mnt/v/of-b; ln -s /etc/passwd /mnt/v/out; ln -s ../.. /mnt/v/up; mkfifo /mnt/v/pipe')
    assert.equal(await v.readFile('/of-b'), 'from b\n')
    await v.writeFile('/of-client', 'from a client')
    assert.equal(await a.files.read('/home/user/vol/of-client'), 'from a client')
    for (const path of ['/out', '/up/etc/passwd', '/up', '/pipe', '/../../etc/passwd']) {
      await assert.rejects(v.readFile(path), VolumeError, path)
    }
    await assert.rejects(v.writeFile('/up/escaped', 'x'), VolumeError)
    const out = await v.getInfo('/out')
    assert.deepEqual([out.type, out.target], ['symlink', '/etc/passwd'])
    const info = await a.getInfo()
    assert.deepEqual(info.volumeMounts, [{ name: v.name, path: '/home/user/vol' }])
    await a.kill()
    const later = await create(mounts)
    assert.equal(await later.files.read('/home/user/vol/of-b'), 'from b\n')
  })

  test('survive pauses and forks', async (t) => {
    const v = await volume(t)
    const sandbox = await create({ volumeMounts: { '/v': v } })
    const other = await create({ volumeMounts: { '/v': v } })
    await sandbox.commands.run('echo kept > /v/kept')
    await sandbox.commands.run('(exec 3< /v/kept; while ! [ -e /v/go ]; do sleep 0.05; done; cat <&3 > /tmp/read) > /dev/null 2>&1 &')
    await sandbox.pause()
    await other.commands.run('echo of another > /v/another')
    await sandbox.connect()
    assert.equal(await sandbox.files.read('/v/another'), 'of another\n')
    await other.commands.run('touch /v/go')
    await eventually(async () => await sandbox.files.exists('/tmp/read') && await sandbox.files.read('/tmp/read') === 'kept\n', 'the open file is read')
    const [fork] = await sandbox.fork({ timeoutMs: 60_000 })
    assert.equal(await fork.files.read('/v/kept'), 'kept\n')
    await fork.files.write('/v/of-fork', 'x')
    assert.equal(await other.files.exists('/v/of-fork'), true)
    await fork.kill()
  })

  test('refuses mounts that cannot be', async (t) => {
    const v = await volume(t)
    const made = await api('POST', '/sandboxes', { templateID: 'base', volumeMounts: [
      { name: 'absent', path: '/a' }, { name: v.name, path: '' }, { name: v.name, path: 'a' },
      { name: v.name, path: '/a/../b' }, { name: v.name, path: '/x' }, { name: v.name, path: '/x' }] })
    assert.equal(made.status, 400)
    assert.match(made.body.message, /^invalid mounts:\n\t- volume mount #0: volume 'absent' not found\n\t- volume mount #1: path cannot be empty\n\t- volume mount #2: path must be absolute\n\t- volume mount #3: path must not contain any '\.' or '\.\.' components\n\t- volume mount #5: path '\/x' is already used$/)
  })
})
