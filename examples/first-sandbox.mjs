// Starts a sandbox, runs a command in it, and exchanges files with it.
import { Sandbox } from 'e2b'

const sandbox = await Sandbox.create({ timeoutMs: 60_000 })
try {
  await sandbox.files.write('numbers.txt', '3\n1\n2\n')
  const { stdout } = await sandbox.commands.run('sort numbers.txt | tee sorted.txt')
  console.log(stdout.trim())
  console.log('the file has', (await sandbox.files.read('sorted.txt')).length, 'characters')
} finally {
  await sandbox.kill()
}
