"""Template builds by the Python SDK: rows T1 to T5, as in templates.test.mjs."""

import os
import shutil
import tempfile
import unittest
import uuid

import httpx
from e2b import BuildException, Sandbox, Template, wait_for_timeout


class Templates(unittest.TestCase):
    def setUp(self):
        self.context = tempfile.mkdtemp(prefix="shoal-builds-")
        self.addCleanup(shutil.rmtree, self.context)
        folder = os.path.join(self.context, "folder")
        os.mkdir(folder)
        with open(os.path.join(folder, "test.txt"), "w") as f:
            f.write("This is a test file.\n")
        os.symlink("test.txt", os.path.join(folder, "symlink.txt"))
        os.symlink("/folder/test.txt", os.path.join(folder, "absolute.txt"))
        os.symlink("missing.txt", os.path.join(folder, "broken.txt"))

    def template(self):
        return Template(file_context_path=self.context)

    def build(self, steps, **options):
        """Builds under a name derived from the test; returns the name and the log."""
        name = f"py-{uuid.uuid4().hex[:12]}"
        self.addCleanup(httpx.delete, f"{os.environ['E2B_API_URL']}/templates/{name}",
                        headers={"X-API-Key": os.environ["E2B_API_KEY"]}, timeout=60)
        lines = []
        Template.build(steps, name, cpu_count=1, memory_mb=1024, on_build_logs=lambda e: lines.append(e.message), **options)
        return name, lines

    def test_t1_folder_with_links_and_a_start_command(self):
        _, lines = self.build(
            self.template().from_base_image().copy("folder/*", "folder", force_upload=True).run_cmd("cat folder/test.txt")
            .set_workdir("/app").set_start_cmd("echo 'Hello, world!'", wait_for_timeout(10_000)), skip_cache=True)
        self.assertIn("[builder 2/3] [stdout]: This is a test file.", lines)
        self.assertIn("[start] [stdout]: Hello, world!", lines)
        self.assertFalse([line for line in lines if "CACHED" in line])

    def test_t2_the_base_template_alone(self):
        name, _ = self.build(Template().from_template("base"), skip_cache=True)
        sandbox = Sandbox.create(name)
        try:
            self.assertEqual(sandbox.commands.run("whoami; pwd").stdout, "user\n/home/user\n")
        finally:
            sandbox.kill()

    def test_t3_links(self):
        _, lines = self.build(self.template().from_ubuntu_image("22.04").copy("folder/*", "folder").run_cmd("cat folder/symlink.txt"))
        self.assertIn("[builder 2/2] [stdout]: This is a test file.", lines)
        self.build(self.template().from_ubuntu_image("22.04").copy("folder/symlink.txt", "folder/symlink.txt", resolve_symlinks=True)
                   .run_cmd("test ! -L folder/symlink.txt && cat folder/symlink.txt"))

    def test_t4_users_of_commands(self):
        _, lines = self.build(self.template().from_base_image().run_cmd("ls -l").run_cmd("whoami", user="root"))
        self.assertIn("[builder 2/2] [stdout]: root", lines)
        with self.assertRaises(BuildException) as caught:
            self.build(self.template().from_base_image().run_cmd("whoami", user="root123"))
        self.assertEqual(str(caught.exception),
                         "failed to run command 'whoami': command failed: unauthenticated: invalid username: 'root123'")

    def test_t5_links_in_later_steps(self):
        check = 'test "$(readlink .bashrc.local)" = ".bashrc"'
        self.build(self.template().from_base_image().make_symlink(".bashrc", ".bashrc.local").run_cmd(check)
                   .skip_cache().make_symlink(".bashrc", ".bashrc.local", force=True).run_cmd(check))


if __name__ == "__main__":
    unittest.main()
