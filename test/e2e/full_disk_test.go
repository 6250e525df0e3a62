package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFullDisk makes pauses and snapshots fail because the disk is full. The sandbox
// continues as if nothing had happened, the caller learns why, nothing is left behind, and
// once there is room the same request succeeds.
func TestFullDisk(t *testing.T) {
	r := another(t, "full", func(b *box) { mountMemory(t, b.DataDir, "512m") },
		"SHOAL_WARM_MAX=0", "SHOAL_SHELLS=0", "SHOAL_REST_TIME=0")
	c := r.createWith(t, `{"templateID":"base","timeout":600,"autoPause":true}`)
	path := "/sandboxes/" + c.SandboxID
	r.python(t, `
from e2b import Sandbox
s = Sandbox.connect("`+c.SandboxID+`")
s.commands.run("setsid sh -c 'i=0; while true; do i=$((i+1)); echo $i > /dev/shm/next; mv /dev/shm/next /dev/shm/count; sleep 0.05; done' > /dev/null 2>&1 &")
s.commands.run("head -c 16M /dev/urandom > /dev/shm/big; head -c 16M /dev/urandom > big")
`)
	hash := func(paths ...string) [sha256.Size]byte {
		t.Helper()
		var all string
		for _, path := range paths {
			_, data := r.file(t, c, "GET", path, nil)
			all += data
		}
		return sha256.Sum256([]byte(all))
	}
	disk, both := hash("/home/user/big"), hash("/dev/shm/big", "/home/user/big")
	whole := func(when string) {
		t.Helper()
		if state := r.state(t, c); state != "running" {
			t.Fatalf("%s the sandbox is %s", when, state)
		}
		if hash("/dev/shm/big", "/home/user/big") != both {
			t.Errorf("%s the files are different", when)
		}
		_, first := r.file(t, c, "GET", "/dev/shm/count", nil)
		eventually(t, 10*time.Second, when+" its process goes on", func() bool {
			status, now := r.file(t, c, "GET", "/dev/shm/count", nil)
			return status == 200 && now != first
		})
	}
	fill := func(left int64) (empty func()) {
		t.Helper()
		filler := filepath.Join(r.DataDir, "filler")
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-left); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
		}
	}
	noArtifacts := func(after string) {
		t.Helper()
		eventually(t, 5*time.Second, "nothing is left of "+after, func() bool {
			left, err := os.ReadDir(filepath.Join(r.DataDir, "artifacts"))
			if err != nil {
				t.Fatal(err)
			}
			return len(left) == 0
		})
	}

	empty := fill(8 << 20)
	end := r.endOf(t, c)
	for _, try := range []struct{ suffix, body, code string }{
		{"/pause", `{}`, "sandbox.pause_failed"},
		{"/pause", `{"memory":false}`, "sandbox.pause_failed"},
		{"/snapshots", `{}`, "snapshot.failed"},
		{"/fork", `{}`, "snapshot.failed"},
	} {
		said := r.refused(t, try.code, "POST", path+try.suffix, try.body)
		if !strings.Contains(said.Message+said.Cause, "no space left on device") {
			t.Errorf("%s %s does not tell the cause: %+v", try.suffix, try.body, said)
		}
		if strings.Contains(said.Cause, "goroutine") {
			t.Errorf("%s %s tells stacks: %s", try.suffix, try.body, said.Cause)
		}
		whole("after " + try.suffix + " " + try.body)
		noArtifacts(try.suffix + " " + try.body)
		if now := r.endOf(t, c); !now.Equal(end) {
			t.Errorf("%s moved the end from %s to %s", try.suffix, end, now)
		}
	}
	// At its time-out it cannot be paused, so it lives on until the next attempt.
	r.demand(t, 204, "POST", path+"/timeout", `{"timeout":0}`)
	eventually(t, 10*time.Second, "the failed pause at the deadline gives it more time", func() bool {
		return r.endOf(t, c).After(time.Now().Add(10*time.Second)) && r.state(t, c) == "running"
	})
	whole("after its time")
	noArtifacts("the pause at the deadline")

	// So that it is not tried again in the meantime.
	r.demand(t, 204, "POST", path+"/timeout", `{"timeout":600}`)
	empty()
	for _, body := range []string{`{}`, `{"memory":false}`} {
		r.demand(t, 204, "POST", path+"/pause", body)
		r.demand(t, 201, "POST", path+"/connect", `{"timeout":300}`)
		if body == `{}` {
			whole("after a pause with room")
		}
	}
	if hash("/home/user/big") != disk {
		t.Error("the file on disk is different")
	}
}

// mountMemory mounts a file system of a limited size at a directory.
func mountMemory(t *testing.T, dir, size string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("e2e", dir, "tmpfs", 0, "mode=711,size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// endOf returns when the sandbox's time ends.
func (b *box) endOf(t *testing.T, c created) time.Time {
	t.Helper()
	var d struct{ EndAt time.Time }
	if err := json.Unmarshal([]byte(b.demand(t, 200, "GET", "/sandboxes/"+c.SandboxID, "")), &d); err != nil {
		t.Fatal(err)
	}
	return d.EndAt
}
