import { before, describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { FileNotFoundError, FileType, InvalidArgumentError } from 'e2b'
import { create, eventually } from './sandbox.mjs'

describe('files', () => {
  let sandbox
  before(async () => { sandbox = await create() })

  test('write, read, overwrite', async () => {
    const info = await sandbox.files.write('note.txt', 'first')
    assert.deepEqual({ name: info.name, type: info.type, path: info.path }, { name: 'note.txt', type: 'file', path: '/home/user/note.txt' })
    assert.equal(await sandbox.files.read('note.txt'), 'first')
    await sandbox.files.write('note.txt', 'second')
    assert.equal(await sandbox.files.read('note.txt'), 'second')
  })

  test('bytes, blob, stream and empty files', async () => {
    const bytes = new Uint8Array(randomBytes(300_000))
    await sandbox.files.write('bytes.bin', bytes.buffer)
    assert.deepEqual(await sandbox.files.read('bytes.bin', { format: 'bytes' }), bytes)
    await sandbox.files.write('blob.bin', new Blob([bytes]))
    assert.equal((await sandbox.files.read('blob.bin', { format: 'blob' })).size, bytes.length)
    await sandbox.files.write('stream.bin', new Blob([bytes]).stream())
    const chunks = []
    for await (const chunk of await sandbox.files.read('stream.bin', { format: 'stream' })) chunks.push(chunk)
    assert.deepEqual(new Uint8Array(Buffer.concat(chunks)), bytes)
    await sandbox.files.write('empty', '')
    assert.equal(await sandbox.files.read('empty'), '')
  })

  test('gzip both ways', async () => {
    const text = 'compress me '.repeat(10_000)
    await sandbox.files.write('zipped.txt', text, { gzip: true })
    assert.equal(await sandbox.files.read('zipped.txt', { gzip: true }), text)
    assert.equal(await sandbox.files.read('zipped.txt'), text)
  })

  test('many files in one call, parents created', async () => {
    const files = Array.from({ length: 10 }, (_, i) => ({ path: i % 2 ? `/tmp/many/${i}/file` : `many/${i}/file`, data: `content ${i}` }))
    const infos = await sandbox.files.write(files)
    assert.deepEqual(infos.map((i) => i.path), files.map((f) => (f.path.startsWith('/') ? f.path : `/home/user/${f.path}`)))
    for (const f of files) assert.equal(await sandbox.files.read(f.path), f.data)
    const owner = await sandbox.commands.run('stat -c "%U %a" many many/0 many/0/file')
    assert.equal(owner.stdout, 'user 755\nuser 755\nuser 644\n')
  })

  test('missing files', async () => {
    await assert.rejects(sandbox.files.read('missing'), FileNotFoundError)
    await assert.rejects(sandbox.files.getInfo('missing'), FileNotFoundError)
    assert.equal(await sandbox.files.exists('missing'), false)
    await sandbox.files.remove('missing')
  })

  test('information about files, directories and links', async () => {
    await sandbox.commands.run('mkdir -p info && echo abc > info/f && ln -s f info/l')
    const file = await sandbox.files.getInfo('info/f')
    assert.deepEqual([file.name, file.type, file.size, file.mode, file.permissions, file.owner, file.group],
      ['f', FileType.FILE, 4, 0o644, '-rw-r--r--', 'user', 'user'])
    const dir = await sandbox.files.getInfo('info')
    assert.deepEqual([dir.type, dir.mode, dir.permissions], [FileType.DIR, 0o755, 'drwxr-xr-x'])
    const link = await sandbox.files.getInfo('info/l')
    assert.deepEqual([link.type, link.symlinkTarget], [FileType.FILE, '/home/user/info/f'])
  })

  test('directories: make, list by depth, rename, remove', async () => {
    assert.equal(await sandbox.files.makeDir('tree/a/b'), true)
    assert.equal(await sandbox.files.makeDir('tree/a/b'), false)
    await sandbox.files.write('tree/file', 'x')
    const names = async (depth) => (await sandbox.files.list('tree', { depth })).map((e) => e.name)
    assert.deepEqual(await names(1), ['a', 'file'])
    assert.deepEqual(await names(2), ['a', 'b', 'file'])
    await assert.rejects(sandbox.files.list('tree', { depth: -1 }), InvalidArgumentError)
    const moved = await sandbox.files.rename('tree/file', 'tree/renamed')
    assert.equal(moved.path, '/home/user/tree/renamed')
    await sandbox.files.remove('tree')
    assert.equal(await sandbox.files.exists('tree'), false)
  })

  test('what the links in /proc lead to stays when they cannot be removed', async () => {
    await sandbox.files.write('worked-in/file', 'kept')
    const process = await sandbox.commands.run('exec sleep 100', { background: true, cwd: '/home/user/worked-in' })
    await assert.rejects(sandbox.files.remove(`/proc/${process.pid}/cwd`), /not permitted/)
    assert.equal(await sandbox.files.read('worked-in/file'), 'kept')
    await process.kill()
  })

  test('metadata', async () => {
    await sandbox.files.write('meta', 'x', { metadata: { author: 'me', kind: 'test' } })
    assert.deepEqual((await sandbox.files.getInfo('meta')).metadata, { author: 'me', kind: 'test' })
    await sandbox.files.write('meta', 'y')
    assert.equal((await sandbox.files.getInfo('meta')).metadata, undefined)
  })

  test('a kernel file whose size is reported as zero', async () => {
    const boot = await sandbox.files.read('/proc/sys/kernel/random/boot_id')
    assert.match(boot, /^[0-9a-f-]{36}\n$/)
  })

  test('100 MB up and down', async () => {
    const chunk = randomBytes(1 << 20)
    const want = createHash('sha256')
    for (let i = 0; i < 100; i++) want.update(chunk)
    await sandbox.files.write('/tmp/big', new Blob(Array.from({ length: 100 }, () => chunk)))
    const digest = want.digest('hex')
    const inside = await sandbox.commands.run('sha256sum /tmp/big')
    assert.equal(inside.stdout.split(' ')[0], digest)
    const got = createHash('sha256')
    for await (const part of await sandbox.files.read('/tmp/big', { format: 'stream' })) got.update(part)
    assert.equal(got.digest('hex'), digest)
    await sandbox.files.remove('/tmp/big')
  })
})

describe('watching', () => {
  let sandbox
  before(async () => { sandbox = await create() })

  test('an upload is seen as create, chmod, write', async () => {
    await sandbox.files.makeDir('watched')
    const events = []
    const handle = await sandbox.files.watchDir('watched', (e) => { events.push([e.type, e.name]) })
    await sandbox.files.write('watched/f', 'x')
    await eventually(() => events.length >= 3, 'three events')
    assert.deepEqual(events, [['create', 'f'], ['chmod', 'f'], ['write', 'f']])
    await handle.stop()
  })

  test('recursive, with entries', async () => {
    await sandbox.files.makeDir('deep/inner')
    const events = []
    const handle = await sandbox.files.watchDir('deep', (e) => { events.push(e) }, { recursive: true, includeEntry: true })
    await sandbox.files.write('deep/inner/f', 'x')
    const write = await eventually(() => events.find((e) => e.type === 'write'), 'a write')
    assert.equal(write.name, 'inner/f')
    assert.equal(write.entry?.path, '/home/user/deep/inner/f')
    await handle.stop()
  })

  test('a directory that does not exist', async () => {
    await assert.rejects(sandbox.files.watchDir('nowhere', () => {}), FileNotFoundError)
  })
})

describe('signed URLs', () => {
  let sandbox
  before(async () => { sandbox = await create() })

  test('download and upload without any header', async () => {
    await sandbox.files.write('signed.txt', 'by signature')
    const down = await fetch(await sandbox.downloadUrl('signed.txt'))
    assert.equal(down.status, 200)
    assert.equal(await down.text(), 'by signature')
    const form = new FormData()
    form.append('file', 'uploaded')
    const up = await fetch(await sandbox.uploadUrl('up.txt'), { method: 'POST', body: form })
    assert.equal(up.status, 200)
    assert.deepEqual(await up.json(), [{ name: 'up.txt', path: '/home/user/up.txt', type: 'file' }])
    assert.equal(await sandbox.files.read('up.txt'), 'uploaded')
  })

  test('expiry and forgery', async () => {
    await sandbox.files.write('signed.txt', 'x')
    const good = await fetch(await sandbox.downloadUrl('signed.txt', { useSignatureExpiration: 60 }))
    assert.equal(good.status, 200)
    await good.text()
    const headers = { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '49983' }
    const late = await fetch(await sandbox.downloadUrl('signed.txt', { useSignatureExpiration: -60 }), { headers })
    assert.equal(late.status, 401)
    assert.deepEqual(await late.json(), { code: 401, message: 'signature is already expired' })
    const forged = new URL(await sandbox.downloadUrl('signed.txt'))
    forged.searchParams.set('path', '/etc/passwd')
    const refused = await fetch(forged, { headers })
    assert.equal(refused.status, 401)
  })
})
