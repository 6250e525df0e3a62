package gvisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/image"
	"shoal/internal/runtime"
)

func TestGuestRuns(t *testing.T) {
	b := newHost(t).start("runs", "")
	b.want("/read?path=/image-file", "from the image")
	b.want("/hostname", "name-of-runs")
	b.want("/fill?path=/tmp/f&mb=10", "ok")
	if _, mem := b.ask("/read?path=/proc/meminfo"); !strings.Contains(mem, "MemTotal:         524288 kB") {
		t.Errorf("the guest's memory: %.60s", mem)
	}
	if !strings.Contains(b.Console(), "guest begins") {
		t.Errorf("console: %q", b.Console())
	}
	stats, err := b.Stats(context.Background())
	if err != nil || stats.MemoryBytes <= 0 || stats.CPUSeconds <= 0 || stats.DiskBytes < 10<<20 {
		t.Errorf("stats: %+v %v", stats, err)
	}
}

// TestLastWords: how a kernel ended is kept, with what it said then.
func TestLastWords(t *testing.T) {
	h := newHost(t)
	for sig, want := range map[unix.Signal]string{
		unix.SIGKILL: "the sandbox kernel was ended by a signal: killed",
		unix.SIGSEGV: "the sandbox kernel ended with exit code", // passed on to the first process
	} {
		b := h.start("last-words", "")
		b.want("/count", "1")
		pid := b.Guest.(*guest).pid
		stderr, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/2", pid), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(stderr, "panic: of the kernel")
		stderr.Close()
		if err := unix.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
		b.ends(fmt.Sprintf("signal %v", sig))
		for _, text := range []string{want, "its last words: panic: of the kernel"} {
			if !strings.Contains(b.Console(), text) {
				t.Errorf("after %v the console lacks %q:\n%s", sig, text, b.Console())
			}
		}
	}
}

// TestGuestLimits: disk and processes end in an error inside, and the guest goes on.
func TestGuestLimits(t *testing.T) {
	b := newHost(t).start("limits", "")
	if status, text := b.ask("/fill?path=/big&mb=80"); status != 500 || !strings.Contains(text, "no space left") {
		t.Errorf("filling the disk: %d %s", status, text)
	}
	if status, text := b.ask("/fork?n=200"); status != 500 || !strings.Contains(text, "temporarily unavailable") {
		t.Errorf("forking without end: %d %s", status, text)
	}
	b.want("/count", "1")
}

// TestLinksAreNoDirectories: a program that asks for a directory that is no link, as
// every careful removal of a tree does, is not given the one that a link leads to.
func TestLinksAreNoDirectories(t *testing.T) {
	b := newHost(t).start("links", "")
	b.want("/open?path=/proc/self/", "ok") // the slash follows it
	b.want("/open?path=/proc", "ok")
	for _, link := range []string{"/proc/self", "/proc/self/cwd", "/proc/self/root"} {
		if status, text := b.ask("/open?path=" + link); status != 500 || !strings.Contains(text, "not a directory") {
			t.Errorf("opening %s: %d %s", link, status, text)
		}
	}
}

// TestBackground: a guest in the background gets less of a processor than one that is
// not, where both want all of it. Both are held on one, because between several their
// threads may be spread in a way that leaves the host's scheduler nothing to share out.
func TestBackground(t *testing.T) {
	h := newHost(t)
	var guests [2]*booted
	var used [2]float64
	for n, id := range []string{"front", "back"} {
		spec, slot := h.spec(id)
		spec.Background = id == "back"
		guests[n] = h.boot(spec, slot, "")
		guests[n].want("/burn", "ok")
		guests[n].pin()
	}
	read := func(sign float64) {
		for n, b := range guests {
			stats, err := b.Stats(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			used[n] += sign * stats.CPUSeconds
		}
	}
	read(-1)
	time.Sleep(3 * time.Second) // some hundred turns
	read(+1)
	if front, back := used[0], used[1]; back <= 0 || front < 2*back {
		t.Errorf("one has had %.2f s of the processor, and the one in the background %.2f s", front, back)
	}
}

// pin holds all threads of the guest on the first processor that is this process's.
func (b *booted) pin() {
	b.t.Helper()
	var mine, first unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mine); err != nil {
		b.t.Fatal(err)
	}
	cpu := 0
	for !mine.IsSet(cpu) {
		cpu++
	}
	first.Set(cpu)
	for moved := true; moved; { // until no thread was born of one that was not moved yet
		moved = false
		for _, pid := range b.driver.cgroups.processes(b.spec.ID) {
			tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
			for _, task := range tasks {
				var set unix.CPUSet
				tid, _ := strconv.Atoi(filepath.Base(task))
				if err := unix.SchedGetaffinity(tid, &set); err == nil && set != first {
					moved = unix.SchedSetaffinity(tid, &first) == nil || moved
				}
			}
		}
	}
}

// TestLayers: several images make one root, of which a checkpoint remembers all. It
// needs Shoal's changes to gVisor (scripts/gvisor), as every test run has them.
func TestLayers(t *testing.T) {
	h := newHost(t)
	paths := h.root.Images()
	for _, files := range []map[string]*image.Node{
		{"dir/first": image.NewFile(0o644, []byte("1")), "dir/both": image.NewFile(0o644, []byte("1"))},
		{"dir/second": image.NewFile(0o644, []byte("2")), "dir/both": image.NewFile(0o644, []byte("2")),
			"image-file": {Mode: unix.S_IFCHR}, "dir/first": {Mode: unix.S_IFCHR}},
	} {
		tree := image.NewTree()
		for name, node := range files {
			if err := tree.Put(name, node); err != nil {
				t.Fatal(err)
			}
		}
		paths = append(paths, putImage(t, h.images, tree))
	}
	h.root = runtime.NewRoot(paths...)
	look := func(b *booted) {
		t.Helper()
		b.want("/read?path=/dir/second", "2")
		b.want("/read?path=/dir/both", "2")
		for _, gone := range []string{"/image-file", "/dir/first"} {
			if status, body := b.ask("/read?path=" + gone); status != 500 || !strings.Contains(body, "no such file") {
				t.Errorf("%s: %d %s", gone, status, body)
			}
		}
	}
	b := h.start("layers", "")
	b.want("/count", "1")
	look(b)
	b.want("/fill?path=/dir/first&mb=1", "ok")
	checkpoint := t.TempDir()
	if err := b.Checkpoint(t.Context(), checkpoint); err != nil {
		t.Fatal(err)
	}
	again := h.start("again", checkpoint)
	again.want("/count", "2")
	again.want("/remove?path=/dir/first", "ok")
	look(again)
}

// TestConsoleIsBounded: the guest's root may write to it without end.
func TestConsoleIsBounded(t *testing.T) {
	h := newHost(t)
	b := h.start("talks", "")
	b.want("/count", "1") // it has begun, which it says
	path := filepath.Join(b.spec.Dir, consoleFile)
	if err := os.WriteFile(path, make([]byte, consoleLimit+1), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Tidy()
	if info, err := os.Stat(path); err != nil || info.Size() > 0 {
		t.Errorf("%v %v", info, err)
	}
}

// TestUpper: the writable layer of one guest is the beginning of another's, which
// can be checkpointed and restored without it.
func TestUpper(t *testing.T) {
	h := newHost(t)
	spec, slot := h.spec("writes")
	spec.Resources.MemoryMB, spec.Resources.DiskMB = 256, 1024
	b := h.boot(spec, slot, "")
	b.want("/fill?path=/kept&mb=1", "ok")
	b.want("/fill?path=/large&mb=600", "ok") // more than the guest's memory
	b.want("/remove?path=/image-file", "ok")
	ctx := context.Background()
	if err := b.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "upper.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Upper(ctx, f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	next, slot := h.spec("begins")
	next.Resources, next.Upper = spec.Resources, path
	second := h.boot(next, slot, "")
	check := func(b *booted) {
		t.Helper()
		if _, data := b.ask("/read?path=/kept"); len(data) != 1<<20 {
			t.Errorf("the written file has %d bytes", len(data))
		}
		if status, text := b.ask("/read?path=/image-file"); status != 500 {
			t.Errorf("the removed file is there: %s", text)
		}
	}
	check(second)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := second.Checkpoint(ctx, dir); err != nil {
		t.Fatal(err)
	}
	last, slot := h.spec("restored")
	last.Resources = spec.Resources
	check(h.boot(last, slot, dir))
}
