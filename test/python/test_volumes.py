"""Volumes by the official Python SDK, sync and async."""

import asyncio
import io
import unittest
import uuid

from e2b import AsyncSandbox, AsyncVolume, Sandbox, Volume
from e2b.exceptions import VolumeException, VolumePathNotFoundException


def new_volume(case):
    """Makes a volume that is removed after the test."""
    made = Volume.create(f"v-{uuid.uuid4()}")
    case.addCleanup(Volume.destroy, made.volume_id)
    return made


class Volumes(unittest.TestCase):
    def test_life(self):
        name = f"v-{uuid.uuid4()}"
        made = Volume.create(name)
        with self.assertRaisesRegex(Exception, f"Volume with name '{name}' already exists"):
            Volume.create(name)
        self.assertIn(made.volume_id, [v.volume_id for v in Volume.list()])
        self.assertEqual(Volume.get_info(made.volume_id).name, name)
        self.assertEqual(Volume.connect(made.volume_id).name, name)
        self.assertTrue(Volume.destroy(made.volume_id))
        self.assertFalse(Volume.destroy(made.volume_id))

    def test_files(self):
        v = new_volume(self)
        v.write_file("/text", "text")
        self.assertEqual(v.read_file("/text"), "text")
        v.write_file("/bytes", b"\x00\xff")
        self.assertEqual(bytes(v.read_file("/bytes", format="bytes")), b"\x00\xff")
        big = b"x" * 3_000_000
        v.write_file("/stream", io.BytesIO(big))
        self.assertEqual(sum(len(part) for part in v.read_file("/stream", format="stream")), len(big))
        v.write_file("/empty", "")
        self.assertEqual(v.read_file("/empty"), "")
        self.assertEqual(v.read_file("/empty", format="bytes"), b"")
        v.write_file("/text", "again", force=True)
        self.assertEqual(v.read_file("/text"), "again")
        with self.assertRaises(VolumeException):
            v.write_file("/text", "once more", force=False)
        with self.assertRaises(VolumePathNotFoundException):
            v.read_file("/absent")

    def test_metadata(self):
        v = new_volume(self)
        made = v.write_file("/file", "x", uid=1000, gid=1001, mode=0o640)
        self.assertEqual((made.uid, made.gid, made.mode), (1000, 1001, 0o640))
        changed = v.update_metadata("/file", uid=7, mode=0o600)
        self.assertEqual((changed.uid, changed.gid, changed.mode), (7, 1001, 0o600))
        with self.assertRaises(VolumePathNotFoundException):
            v.update_metadata("/absent", mode=0o600)

    def test_directories(self):
        v = new_volume(self)
        v.make_dir("/a/b", force=True)
        with self.assertRaises(VolumeException):
            v.make_dir("/a")
        v.write_file("/a/b/file", "x")
        self.assertEqual([e.path for e in v.list("/", depth=3)], ["/a", "/a/b", "/a/b/file"])
        with self.assertRaises(VolumePathNotFoundException):
            v.list("/absent")
        v.remove("/a")
        self.assertFalse(v.exists("/a"))
        with self.assertRaises(VolumePathNotFoundException):
            v.remove("/a")

    def test_sandboxes(self):
        v = new_volume(self)
        with Sandbox.create(volume_mounts={"/home/user/vol": v}) as a, Sandbox.create(volume_mounts={"/mnt/v": v.name}) as b:
            self.assertIn(" /home/user/vol ", a.commands.run("mount").stdout)
            a.files.write("/home/user/vol/of-a", "from a")
            self.assertEqual(b.files.read("/mnt/v/of-a"), "from a")
            b.commands.run("echo from b > /mnt/v/of-b")
            self.assertEqual(v.read_file("/of-b"), "from b\n")


class AsyncVolumes(unittest.IsolatedAsyncioTestCase):
    async def test_shared(self):
        v = await AsyncVolume.create(f"v-{uuid.uuid4()}")
        try:
            await v.write_file("/of-client", "from a client")
            a, b = await asyncio.gather(*[AsyncSandbox.create(volume_mounts={"/v": v}) for _ in range(2)])
            try:
                self.assertEqual(await a.files.read("/v/of-client"), "from a client")
                await a.files.write("/v/of-a", "from a")
                self.assertEqual(await b.files.read("/v/of-a"), "from a")
                self.assertEqual(await v.read_file("/of-a"), "from a")
            finally:
                await asyncio.gather(a.kill(), b.kill())
        finally:
            self.assertTrue(await AsyncVolume.destroy(v.volume_id))
