"""What a running process draws at random after a fork, as docs/randomness.md says of it."""

import json
import unittest

from e2b import Sandbox

PYTHON = """
import json, os, random, secrets, ssl, time, uuid
def draw():
    return {'urandom': os.urandom(16).hex(), 'secrets': secrets.token_hex(16), 'uuid4': str(uuid.uuid4()),
            'random': random.random(), 'openssl': ssl.RAND_bytes(16).hex()}
draw()
open('/tmp/ready', 'w').close()
while not os.path.exists('/tmp/copied'): time.sleep(0.02)
drawn = draw()
ssl.RAND_add(os.urandom(32), 32)
drawn['openssl, seeded'] = ssl.RAND_bytes(16).hex()
with open('/run/e2b/.E2B_SANDBOX_ID') as f: drawn['sandbox'] = f.read()
with open('/tmp/drawn.new', 'w') as f: json.dump(drawn, f)
os.rename('/tmp/drawn.new', '/tmp/drawn')
"""

NODE = """
const crypto = require('crypto'), fs = require('fs'), {execFileSync} = require('child_process')
const kernel = Buffer.alloc(16)
const draw = () => {
  fs.readSync(fs.openSync('/dev/urandom'), kernel)
  const child = execFileSync(process.execPath, ['-p', 'require("crypto").randomUUID()']).toString()
  return {urandom: kernel.toString('hex'), child, bytes: crypto.randomBytes(16).toString('hex'),
    uuid: crypto.randomUUID(), math: Math.random()}
}
draw()
fs.writeFileSync('/tmp/ready', '')
const look = setInterval(() => {
  if (!fs.existsSync('/tmp/copied')) return
  clearInterval(look)
  fs.writeFileSync('/tmp/drawn.new', JSON.stringify(draw()))
  fs.renameSync('/tmp/drawn.new', '/tmp/drawn')
}, 20)
"""


class Forks(unittest.TestCase):
    def drawn(self, command, program):
        """Forks a sandbox in which a program has drawn once; returns what it draws next in each."""
        sandbox = Sandbox.create(timeout=120)
        self.addCleanup(sandbox.kill)
        sandbox.files.write("/tmp/program", program)
        sandbox.commands.run(f"{command} /tmp/program", background=True, timeout=0)
        sandbox.commands.run("until [ -e /tmp/ready ]; do sleep 0.05; done", timeout=20)
        forks = sandbox.fork(count=2, timeout=60)
        draws = []
        for each in [sandbox, *forks]:
            self.addCleanup(each.kill)
            each.commands.run("touch /tmp/copied; until [ -e /tmp/drawn ]; do sleep 0.05; done", timeout=20)
            draws.append(json.loads(each.files.read("/tmp/drawn")))
        self.assertEqual(draws[0].pop("sandbox", sandbox.sandbox_id), sandbox.sandbox_id)
        self.assertEqual([d.pop("sandbox", f.sandbox_id) for d, f in zip(draws[1:], forks)],
                         [f.sandbox_id for f in forks])
        return draws

    def compare(self, draws, same):
        for name in draws[0]:
            values = {d[name] for d in draws}
            self.assertEqual(len(values), 1 if name in same else len(draws), f"{name}: {values}")

    def test_python(self):
        self.compare(self.drawn("python3", PYTHON), {"random", "openssl"})

    def test_node(self):
        self.compare(self.drawn("node", NODE), {"bytes", "uuid", "math"})


if __name__ == "__main__":
    unittest.main()
