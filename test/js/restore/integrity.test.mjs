// Bytes in memory and on disk across pauses. Most useful if no paused sandbox rests in
// memory, so that each one is read back from what was written.
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { bootID, create, eventually, get } from '../sandbox.mjs'

/** Holds memory, changes some of its pages when told to, and prints its hash. */
const keeper = `
import hashlib, http.server, mmap, os
page = mmap.PAGESIZE
memory = mmap.mmap(-1, 32 << 20)
block = os.urandom(1 << 20)
for at in range(0, len(memory), 2 << 20): memory[at:at + len(block)] = block # the rest stays untouched
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/change"):
            n = int(self.path.rsplit("/")[-1])
            for at in range(n * page, len(memory), 13 * page): memory[at:at + page] = os.urandom(page)
            zeros = range(n << 20, (n + 1) << 20, 2 * page)
            for at in zeros: memory[at:at + page] = bytes(page)
        answer = hashlib.sha256(memory).hexdigest().encode()
        self.send_response(200); self.end_headers(); self.wfile.write(answer)
    def log_message(self, *a): pass
http.server.HTTPServer(("0.0.0.0", 8000), H).serve_forever()
`

/** Writes in all the ways that leave more than plain, complete files. */
const scribbler = `
import os, random, sys
n = int(sys.argv[1])
os.makedirs("files", exist_ok=True)
os.chdir("files")
def open_(name): return os.open(name, os.O_RDWR | os.O_CREAT)
def at(name, *places):
    f = open_(name)
    for offset, data in places: os.pwrite(f, data, offset)
    os.close(f)
at("contiguous", (n * 5_000_000, os.urandom(5_000_000)))
at("scattered", *((random.randrange(20_000_000), os.urandom(random.randrange(1, 9000))) for _ in range(100)))
at("zeroed", (0, os.urandom(4_000_000)))
at("zeroed", (n * 500_000 + 123, bytes(1_000_000)))
at("shortened", (0, os.urandom(3_000_000)))
os.truncate("shortened", 1_000_001 + n)
at("regrown", (0, os.urandom(2_000_000)))
os.truncate("regrown", 777)
os.truncate("regrown", 3_000_000)
at(f"renamed.tmp", (0, os.urandom(100_000)))
os.rename("renamed.tmp", "renamed")
for i in range(100): at(f"small-{n}-{i}", (0, os.urandom(i)))
for i in range(0, 100, 3):
    if n: os.remove(f"small-{n - 1}-{i}")
`

/** Hash, size, owner and mode of everything that was written. */
const digest = "find files -type f | sort | xargs sha256sum | sha256sum; find files -type f | sort | xargs stat -c '%n %s %u %a' | sha256sum; sha256sum /etc/services"

describe('what was written is what is read', { concurrency: 2 }, () => {
  test('in memory', async () => {
    const sandbox = await create()
    await sandbox.files.write('/tmp/keeper.py', keeper)
    await sandbox.commands.run('setsid python3 /tmp/keeper.py > /tmp/keeper.log 2>&1 &')
    await eventually(async () => (await get(sandbox, 8000)).status === 200, 'it serves')
    const boot = await bootID(sandbox)
    for (let round = 1; round <= 3; round++) {
      const before = (await get(sandbox, 8000, `/change/${round}`)).body
      await sandbox.commands.run('head -c 20M /dev/urandom > /dev/shm/file')
      const file = (await sandbox.commands.run('sha256sum /dev/shm/file')).stdout
      await sandbox.pause()
      await sandbox.connect()
      assert.equal((await get(sandbox, 8000)).body, before)
      assert.equal((await sandbox.commands.run('sha256sum /dev/shm/file')).stdout, file)
    }
    assert.equal(await bootID(sandbox), boot)
  })

  for (const keepMemory of [true, false]) {
    test(`on disk, kept ${keepMemory ? 'with' : 'without'} memory`, async () => {
      const sandbox = await create()
      await sandbox.files.write('/home/user/scribbler.py', scribbler)
      const seen = new Set()
      for (let round = 0; round < 3; round++) {
        await sandbox.commands.run(`python3 scribbler.py ${round} && sudo sh -c 'echo ${round} >> /etc/services'`)
        const before = (await sandbox.commands.run(digest)).stdout
        seen.add(before)
        await sandbox.pause({ keepMemory })
        await sandbox.connect()
        assert.equal((await sandbox.commands.run(digest)).stdout, before)
      }
      assert.equal(seen.size, 3)
    })
  }
})
