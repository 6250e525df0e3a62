// Files.
import assert from 'node:assert/strict'
import { create, eventually, feature, needs, notFound, ours } from './client.mjs'

feature('Files: write and read', async () => {
  const { files } = await ours()
  await files.write('deep/er/text.txt', 'text ü')
  assert.equal(await files.read('deep/er/text.txt'), 'text ü')
  const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i)
  await files.write('bytes', bytes.buffer)
  assert.deepEqual(await files.read('bytes', { format: 'bytes' }), bytes)
})
feature('Files: streams', async () => {
  const { files } = await ours()
  await files.write('streamed', new Blob(['streamed']).stream())
  assert.equal(await new Response(await files.read('streamed', { format: 'stream' })).text(), 'streamed')
})
feature('Files: write several', async () => {
  const { files } = await ours()
  const written = await files.write([{ path: 'one.txt', data: '1' }, { path: '/tmp/two.txt', data: '2' }])
  assert.deepEqual(written.map((w) => w.path), ['/home/user/one.txt', '/tmp/two.txt'])
})
feature('Files: directories', async () => {
  const { files } = await ours()
  assert.equal(await files.makeDir('box/inner'), true)
  assert.equal(await files.makeDir('box/inner'), false)
  await files.write('box/inner/a.txt', 'a')
  await files.rename('box/inner/a.txt', 'box/b.txt')
  assert.deepEqual((await files.list('box')).map((e) => `${e.type} ${e.name}`).sort(), ['dir inner', 'file b.txt'])
  await files.remove('box')
  assert.equal(await files.exists('box'), false)
})
feature('Files: information', async () => {
  const { files } = await ours()
  needs(files.getInfo)
  await files.write('info.txt', 'info')
  const { name, size, type } = await files.getInfo('info.txt')
  assert.deepEqual([name, type], ['info.txt', 'file'])
  assert.ok(size === undefined || size === 4)
})
feature('Files: what is not there', async () => {
  await assert.rejects((await ours()).files.read('/not/there'), notFound)
})
feature('Files: watch', async () => {
  const { files } = await ours()
  await files.makeDir('watched')
  const events = []
  const watch = await files.watchDir('watched', (event) => { events.push(`${event.type} ${event.name}`) })
  await files.write('watched/new.txt', 'new')
  await eventually(() => events.includes('create new.txt') && events.includes('write new.txt'), 'the write is seen')
  await watch.stop()
})
feature('Files: signed addresses', async () => {
  const sandbox = await create({ secure: true })
  const form = new FormData()
  form.append('file', new Blob(['signed']), 'signed.txt')
  const options = { useSignatureExpiration: 60_000 }
  const up = await fetch(await sandbox.uploadUrl('signed.txt', options), { method: 'POST', body: form })
  assert.equal(up.status, 200, await up.text())
  assert.equal(await (await fetch(await sandbox.downloadUrl('signed.txt', options))).text(), 'signed')
})
