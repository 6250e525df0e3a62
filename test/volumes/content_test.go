package volumes

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/shoal"
)

// TestQuota: a guest that fills a volume is told that there is no space, and has it again when it has
// removed something. Another sandbox and clients take from the same.
func TestQuota(t *testing.T) {
	limits := shoal.DefaultTeamLimits()
	limits.VolumeMB = 64
	_, key, err := server.AddTeam(t.Context(), limits)
	if err != nil {
		t.Fatal(err)
	}
	v := newVolumeOf(t, key)
	a, b := newBoxOf(t, key, v), newBoxOf(t, key, v)
	a.run("dd if=/dev/zero of=/v/half bs=1M count=32 2>/dev/null")
	out, err := b.try("dd if=/dev/zero of=/v/more bs=1M count=64 2>&1")
	if err == nil || !strings.Contains(out, "No space left on device") {
		t.Errorf("more than fits: %v %s", err, out)
	}
	if out := strings.TrimSpace(b.run("du -sm /v | cut -f1")); len(out) != 2 || out > "65" {
		t.Errorf("there are %s MiB", out)
	}
	headers := map[string]string{"Authorization": "Bearer " + v.Token}
	put := func() (int, string) {
		status, body, err := server.CallWith(context.Background(), headers, "PUT", "/volumecontent/"+v.ID+"/file?path=/put",
			strings.Repeat("x", 8<<20))
		if err != nil {
			t.Fatal(err)
		}
		return status, string(body)
	}
	if status, body := put(); status != 507 {
		t.Errorf("a client's upload: %d %s", status, body)
	}
	a.run("rm /v/half /v/more; sleep 1.1")
	b.run("dd if=/dev/zero of=/v/again bs=1M count=40 2>/dev/null")
	if status, body := put(); status != 201 {
		t.Errorf("a client's upload into what was removed: %d %s", status, body)
	}
	if out, err := a.try("dd if=/dev/zero of=/v/over bs=1M count=30 2>&1"); err == nil {
		t.Errorf("once more than fits: %s", out)
	}
	// Neither can a file with holes be filled through a mapping, nor by a copy.
	a.run("cat > /root/holes.py << 'END'\n" + holesProgram + "END\nrm /v/*; sleep 1.1")
	if out, err := a.try("python3 /root/holes.py"); err == nil {
		t.Errorf("a mapping was filled with more than fits: %s", out)
	}
	// The guest takes a file to be as large as it says.
	var taken unix.Stat_t
	err = unix.Stat(filepath.Join(dirOf(t, v), "holes"), &taken)
	if mb := taken.Blocks >> 11; err != nil || mb < 32 || mb > 65 {
		t.Errorf("there are %d MiB through a mapping: %v", mb, err)
	}
	a.run("rm /v/*; sleep 1.1; head -c 100M /dev/urandom > /root/large")
	if out, err := a.try("cp /root/large /v/large 2>&1"); err == nil || !strings.Contains(out, "No space left on device") {
		t.Errorf("copy more than fits: %v %s", err, out)
	}
}

// holesProgram writes to each page of a file that has nothing but a hole.
const holesProgram = `
import mmap
f = open("/v/holes", "w+b")
f.truncate(200 << 20)
m = mmap.mmap(f.fileno(), 0)
for at in range(0, len(m), 4096):
    m[at] = 1
`

// TestCopies: what programs copy by copy_file_range and sendfile, between the sandbox's own disk and a
// volume, and within one, is the same afterwards, with holes, at all places, and over what was there.
func TestCopies(t *testing.T) {
	v := newVolume(t)
	a, b := newBox(t, v), newBox(t, v)
	a.run("cat > /root/copies.py << 'END'\n" + copiesProgram + "END\n")
	if out, err := a.try("python3 /root/copies.py"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if out := b.run("cd /v; cp a c; cmp a c && cmp a b && rm c && echo same"); out != "same\n" {
		t.Errorf("the other sandbox: %s", out)
	}
}

const copiesProgram = `
import os, random
r = random.Random(7)
own, vol = "/root/a", "/v/a"
paths = [own, "/root/b", vol, "/v/b"]
want = {}
def check(path, how):
    got = open(path, "rb").read()
    if got != want[path]:
        raise SystemExit("%s: %d bytes of %d, %s" % (how, len(got), len(want[path]),
            next((i for i in range(min(len(got), len(want[path]))) if got[i] != want[path][i]), None)))
for path in paths:
    data = bytearray()
    with open(path, "wb") as f:
        for part in range(8): # some of it holes
            size = r.randrange(1, 900000)
            if part % 3 == 2:
                f.seek(size, os.SEEK_CUR); data += bytes(size)
            else:
                some = r.randbytes(size); f.write(some); data += some
    want[path] = data
for turn in range(60):
    a, b = r.sample(paths, 2)
    at, to, size = r.randrange(len(want[a])), r.randrange(len(want[b])), r.randrange(1, 3000000)
    i, o = os.open(a, os.O_RDONLY), os.open(b, os.O_WRONLY)
    how = r.choice(["offsets", "places", "sendfile"])
    left = size = min(size, len(want[a]) - at)
    if how != "offsets": os.lseek(o, to, os.SEEK_SET)
    if how == "places": os.lseek(i, at, os.SEEK_SET)
    while left:
        done = size - left
        if how == "offsets": n = os.copy_file_range(i, o, left, at + done, to + done)
        elif how == "places": n = os.copy_file_range(i, o, left)
        else: n = os.sendfile(o, i, at + done, left)
        if n == 0: raise SystemExit("%s ends %d early" % (how, left))
        left -= n
    if how != "offsets" and os.lseek(o, 0, os.SEEK_CUR) != to + size: raise SystemExit("the place of what was written")
    if how == "places" and os.lseek(i, 0, os.SEEK_CUR) != at + size: raise SystemExit("the place of what was read")
    os.close(i); os.close(o)
    want[b][to:to + size] = want[a][at:at + size]
    check(b, "turn %d, %s of %d bytes from %s at %d to %s at %d" % (turn, how, size, a, at, b, to))
for a, b in ((vol, own), (own, "/root/b"), ("/v/b", vol), (vol, "/v/b")):
    want[b] = want[a]
    if os.system("cp %s %s" % (a, b)): raise SystemExit("cp")
    check(b, "cp %s %s" % (a, b))
`

// TestFiles: what programs expect of a file system.
func TestFiles(t *testing.T) {
	v := newVolume(t)
	a, b := newBox(t, v), newBox(t, v)
	for what, line := range map[string]string{
		"symlinks":   "cd /v && echo x > s1 && ln -s s1 s2 && [ $(readlink s2) = s1 ] && grep -q x s2",
		"hard links": "cd /v && echo x > h1 && ln h1 h2 && [ $(stat -c %h h1) = 2 ] && [ $(stat -c %i h1) = $(stat -c %i h2) ]",
		"renames":    "cd /v && mkdir r1 && touch r1/f && mv r1 r2 && [ -f r2/f ] && echo y > r3 && mv r3 r2/f && grep -q y r2/f",
		"owners":     "cd /v && touch o && chown 1000:1001 o && chmod 2640 o && [ \"$(stat -c '%u %g %a' o)\" = '1000 1001 2640' ]",
		"attributes": "cd /v && touch x && python3 -c 'import os; os.setxattr(\"x\", \"user.a\", b\"b\"); assert os.getxattr(\"x\", \"user.a\") == b\"b\"'",
		"times":      "cd /v && touch -d 2001-02-03 t && [ $(date -r t +%Y) = 2001 ]",
		"programs":   "cd /v && printf '#!/bin/sh\\necho ran\\n' > p && chmod +x p && [ $(./p) = ran ] && cp /bin/ls l && ./l > /dev/null",
		"mappings": "cd /v && head -c 8192 /dev/zero > m && python3 -c '\nimport mmap\nf = open(\"/v/m\", \"r+b\")\n" +
			"m = mmap.mmap(f.fileno(), 0)\nm[5000:5004] = b\"mine\"\nm.flush()\n' && [ $(dd if=m bs=1 skip=5000 count=4 2>/dev/null) = mine ]",
		"users": "su user -c 'cd /v && mkdir mine && echo x > mine/f && [ $(stat -c %U mine/f) = user ]'",
	} {
		if out, err := a.try("set -e; " + line); err != nil {
			t.Errorf("%s: %v %s", what, err, out)
		}
	}
	if out := b.run("cd /v; cat h2 s2 r2/f; stat -c '%u %a' o; dd if=m bs=1 skip=5000 count=4 2>/dev/null || true"); out != "x\nx\ny\n1000 2640\nmine" {
		t.Errorf("the other sandbox sees %q", out)
	}
	// A mapping of one sandbox shows what another writes.
	a.run("cat > /root/map.py << 'END'\n" + mapProgram + "END\n")
	if out, err := a.try("python3 /root/map.py > /root/map.out 2>&1 & " + await("/v/mapped")); err != nil {
		t.Fatalf("map a file: %v %s%s", err, out, a.run("cat /root/map.out"))
	}
	b.run("printf other | dd of=/v/m conv=notrunc 2>/dev/null")
	if out, err := a.try(await("/v/seen")); err != nil {
		t.Errorf("a mapping does not show what another sandbox writes: %v %s%s", err, out, a.run("cat /root/map.out"))
	}
	// A watch sees what its own sandbox does.
	a.run("cat > /root/watch.py << 'END'\n" + watchProgram + "END\n")
	a.run("python3 /root/watch.py")
}

// await is a command line that waits for a file, but not for ever.
func await(file string) string {
	return "for i in $(seq 400); do [ -e " + file + " ] && exit; sleep 0.05; done; exit 1"
}

// mapProgram waits until a file that it has mapped has what another sandbox writes.
const mapProgram = `
import mmap, time
f = open("/v/m", "r+b") # a file without a name would be closed at once
m = mmap.mmap(f.fileno(), 0)
m[0:5] = b"first"
open("/v/mapped", "w").close()
end = time.time() + 20
while m[0:5] != b"other":
    if time.time() > end: raise SystemExit("the mapping has %r" % m[0:5])
    time.sleep(0.02)
open("/v/seen", "w").close()
`

// watchProgram makes a file in a directory that it watches, and waits for the event.
const watchProgram = `
import ctypes, os, select
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir("/v/watched")
fd = libc.inotify_init1(os.O_CLOEXEC)
IN_CREATE = 0x100
if libc.inotify_add_watch(fd, b"/v/watched", IN_CREATE) < 0: raise OSError(ctypes.get_errno(), "watch")
open("/v/watched/f", "w").close()
if not select.select([fd], [], [], 20)[0]: raise SystemExit("no event")
assert os.read(fd, 4096)[16:].rstrip(b"\0") == b"f"
`

// TestConsistency: two sandboxes read and write one file in turns, and each reads what was written
// last, by whomever, at whichever place.
func TestConsistency(t *testing.T) {
	v := newVolume(t)
	boxes := []*box{newBox(t, v), newBox(t, v)}
	for _, b := range boxes {
		b.run("cat > /root/play.py << 'END'\n" + playProgram + "END\n")
	}
	boxes[0].run("mkdir /v/turns; head -c 262144 /dev/zero > /v/file")
	results, seed := make(chan error, len(boxes)), time.Now().Unix()
	for i, b := range boxes {
		go func() {
			out, err := b.try(fmt.Sprintf("python3 /root/play.py %d 2 400 %d", i, seed))
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			results <- err
		}()
	}
	for range boxes {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// playProgram takes its turns: in each it checks the whole file against what all turns so far have made
// of it, which it plays by the same random numbers, and changes it.
const playProgram = `
import mmap, os, random, sys, time
me, players, turns, seed = map(int, sys.argv[1:])
r = random.Random(seed)
want = bytearray(262144)
fd = os.open("/v/file", os.O_RDWR)
for turn in range(turns):
    how = r.choice(["write", "append", "map", "cut", "reopen"])
    at, size, byte = r.randrange(200000), r.randrange(1, 20000), r.randrange(256)
    if turn % players != me:
        while not os.path.exists("/v/turns/%d" % turn): time.sleep(0.001)
    else:
        got = os.pread(fd, len(want) + 1, 0)
        if got != want:
            print("turn %d: %d bytes of %d" % (turn, len(got), len(want)), next((i for i in range(min(len(got), len(want))) if got[i] != want[i]), None))
            sys.exit(1)
        data = bytes([byte]) * size
        if how in ("write", "reopen"):
            if how == "reopen":
                os.close(fd); fd = os.open("/v/file", os.O_RDWR)
            os.pwrite(fd, data, at)
        elif how == "append":
            a = os.open("/v/file", os.O_WRONLY | os.O_APPEND); os.write(a, data[:100]); os.close(a)
        elif how == "map":
            end = min(at + size, len(want))
            if at < end:
                m = mmap.mmap(fd, len(want)); m[at:end] = data[:end - at]; m.flush(); m.close()
        elif how == "cut":
            os.ftruncate(fd, 230000)
        open("/v/turns/%d" % turn, "w").close()
    if how in ("write", "reopen"):
        if at > len(want): want.extend(bytes(at - len(want)))
        want[at:at + size] = bytes([byte]) * size
    elif how == "append":
        want.extend(bytes([byte]) * min(size, 100))
    elif how == "map":
        end = min(at + size, len(want))
        if at < end: want[at:end] = bytes([byte]) * (end - at)
    elif how == "cut":
        del want[230000:]
        want.extend(bytes(230000 - len(want)))
`
