"""Files."""

import urllib.request

from client import NOT_FOUND, MINUTE, create, equal, eventually, feature, ours, raises


@feature("Files: write and read")
def _():
    files = ours().files
    files.write("deep/er/text.txt", "text ü")
    equal(files.read("deep/er/text.txt"), "text ü")
    data = bytes(range(256)) * 300
    files.write("bytes", data)
    equal(bytes(files.read("bytes", format="bytes")), data)


@feature("Files: streams")
def _():
    ours().files.write("streamed", "streamed")
    equal(b"".join(ours().files.read("streamed", format="stream")), b"streamed")


@feature("Files: write several")
def _():
    files = ours().files
    write = getattr(files, "write_files", files.write)
    written = write([{"path": "one.txt", "data": "1"}, {"path": "/tmp/two.txt", "data": b"2"}])
    equal([w.path for w in written], ["/home/user/one.txt", "/tmp/two.txt"])


@feature("Files: directories")
def _():
    files = ours().files
    equal((files.make_dir("box/inner"), files.make_dir("box/inner")), (True, False))
    files.write("box/inner/a.txt", "a")
    files.rename("box/inner/a.txt", "box/b.txt")
    equal(sorted((e.type.value, e.name) for e in files.list("box")), [("dir", "inner"), ("file", "b.txt")])
    files.remove("box")
    equal(files.exists("box"), False)


@feature("Files: information")
def _():
    ours().files.write("info.txt", "info")
    info = ours().files.get_info("info.txt")
    equal((info.name, info.type.value, getattr(info, "size", 4)), ("info.txt", "file", 4))


@feature("Files: what is not there")
def _():
    raises(NOT_FOUND, ours().files.read, "/not/there")


@feature("Files: watch")
def _():
    ours().files.make_dir("watched")
    watch = ours().files.watch_dir("watched")
    ours().files.write("watched/new.txt", "new")
    seen = set()

    def both():
        seen.update((event.type.value, event.name) for event in watch.get_new_events())
        return {("create", "new.txt"), ("write", "new.txt")} <= seen

    eventually(both, "the write is seen")
    watch.stop()


@feature("Files: signed addresses")
def _():
    sandbox = create(secure=True)
    limit = {"use_signature_expiration": MINUTE}
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="signed.txt"\r\n\r\nsigned\r\n--b--\r\n'
    up = urllib.request.Request(sandbox.upload_url("signed.txt", **limit), body, {"Content-Type": "multipart/form-data; boundary=b"})
    urllib.request.urlopen(up, timeout=20).close()
    with urllib.request.urlopen(sandbox.download_url("signed.txt", **limit), timeout=20) as answer:
        equal(answer.read(), b"signed")
