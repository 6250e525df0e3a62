"""The desktop's Python SDK. The template desktop must be built."""

import io
import time
import unittest

from e2b_desktop import Sandbox
from PIL import Image

from test_sandbox import eventually


class Desktop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.desktop = Sandbox.create(timeout=600)
        cls.addClassCleanup(cls.desktop.kill)

    def screen(self):
        image = Image.open(io.BytesIO(self.desktop.screenshot()))
        image.load()
        return image

    def test_1_begins_in_the_middle(self):
        self.assertEqual(self.desktop.get_screen_size(), (1024, 768))
        self.assertEqual(self.desktop.get_cursor_position(), (512, 384))
        self.assertEqual(self.screen().size, (1024, 768))

    def test_2_menu(self):
        eventually(lambda: len(self.screen().getcolors(1 << 20)) > 50, "the wallpaper", 90)
        x, y = self.desktop.get_cursor_position()
        around = (x - 50, y - 50, x + 50, y + 50)
        before = self.screen().crop(around).tobytes()

        def menu():
            self.desktop.right_click()  # a new session may miss the first click
            time.sleep(5)  # XFCE needs this long
            seen = self.screen().crop(around).tobytes() != before
            self.desktop.press("esc")
            return seen

        eventually(menu, "the menu", 90)

    def test_3_mouse(self):
        self.desktop.move_mouse(100, 200)
        self.assertEqual(self.desktop.get_cursor_position(), (100, 200))

    def test_4_files(self):
        self.desktop.files.write("/home/user/note.txt", "a note")
        self.desktop.open("/home/user/note.txt")
        self.assertEqual(self.desktop.files.read("/home/user/note.txt"), "a note")

    def test_5_stream(self):
        self.desktop.stream.start(require_auth=True)
        key = self.desktop.stream.get_auth_key()
        url = self.desktop.stream.get_url(auth_key=key)
        self.assertTrue(url.startswith(f"https://6080-{self.desktop.sandbox_id}."), url)
        self.assertIn(f"password={key}", url)
        page = self.desktop.commands.run("curl -s -o /dev/null -w '%{http_code}' http://localhost:6080/vnc.html")
        self.assertEqual(page.stdout, "200")
        self.desktop.stream.stop()


if __name__ == "__main__":
    unittest.main()
