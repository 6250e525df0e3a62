package gvisor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"shoal/internal/image"
	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// host is a machine for guests: a driver, network slots and the test guest's image.
type host struct {
	t      *testing.T
	driver *Driver
	pool   *network.Pool
	images *image.Store
	root   runtime.Root
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, driver: testDriver(t)}
	pool, err := network.NewPool(network.Config{Name: "gv", HostCIDR: netip.MustParsePrefix("10.73.0.0/16"),
		VethCIDR: netip.MustParsePrefix("10.74.0.0/16"), StateDir: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h.pool = pool
	t.Cleanup(func() {
		if err := pool.Teardown(); err != nil {
			t.Error(err)
		}
	})
	var path string
	h.images, path = guestImage(t)
	h.root = runtime.NewRoot(path)
	return h
}

func guestImage(t *testing.T) (*image.Store, string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "init")
	build := exec.Command("go", "build", "-o", program, "./testdata/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the test guest: %v\n%s", err, out)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	tree := image.NewTree()
	put := func(name string, n *image.Node) {
		if err := tree.Put(name, n); err != nil {
			t.Fatal(err)
		}
	}
	put("init", image.NewFile(0o755, data))
	put("image-file", image.NewFile(0o644, []byte("from the image")))
	for _, dir := range []string{"proc", "sys", "dev", "tmp"} {
		put(dir, image.NewDir(0o755))
	}
	// Over an empty /tmp gVisor mounts a file system in memory.
	put("tmp/.keep", image.NewFile(0o644, nil))
	store, err := image.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return store, putImage(t, store, tree)
}

func putImage(t *testing.T, store *image.Store, tree *image.Tree) string {
	t.Helper()
	digest, _, err := store.Put(tree)
	if err != nil {
		t.Fatal(err)
	}
	path, err := store.Path(digest)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// boot is one started guest with its slot.
type booted struct {
	*host
	runtime.Guest
	slot *network.Slot
	spec runtime.Spec
}

func (h *host) spec(id string) (runtime.Spec, *network.Slot) {
	h.t.Helper()
	slot, err := h.pool.Acquire(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { h.pool.Release(slot) })
	l := slot.Link()
	return runtime.Spec{ID: id, Dir: h.t.TempDir(), UpperDir: h.t.TempDir(), Root: h.root, Hostname: "name-of-" + id,
		Resources: shoal.Resources{CPUCount: 2, MemoryMB: 512, DiskMB: 64}, MaxProcesses: 100, Args: []string{"/init"},
		Link: runtime.Link{Address: netip.PrefixFrom(l.GuestIP, l.PrefixLen), Gateway: l.Gateway, MAC: l.GuestMAC, MTU: l.MTU, Open: slot.PacketSocket},
	}, slot
}

func (h *host) start(id, checkpoint string) *booted {
	h.t.Helper()
	spec, slot := h.spec(id)
	return h.boot(spec, slot, checkpoint)
}

func (h *host) boot(spec runtime.Spec, slot *network.Slot, checkpoint string) *booted {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var g runtime.Guest
	var err error
	if checkpoint == "" {
		g, err = h.driver.Start(ctx, spec)
	} else {
		g, err = h.driver.Restore(ctx, spec, checkpoint)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	b := &booted{host: h, Guest: g, slot: slot, spec: spec}
	h.t.Cleanup(func() {
		if err := g.Kill(context.Background()); err != nil {
			h.t.Errorf("kill %s: %v", spec.ID, err)
		}
	})
	return b
}

var guestClient = &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}

// ask waits for the guest to listen and returns the answer and its status.
func (b *booted) ask(path string) (int, string) {
	b.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		resp, err := guestClient.Get("http://" + b.slot.HostIP().String() + ":49983" + path)
		if err == nil {
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				b.t.Fatal(err)
			}
			return resp.StatusCode, string(body)
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: %v; console:\n%s", path, err, b.Console())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (b *booted) want(path, want string) {
	b.t.Helper()
	if status, got := b.ask(path); status != 200 || got != want {
		b.t.Errorf("%s = %d %q, want %q", path, status, got, want)
	}
}

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
		select {
		case <-b.Done():
		case <-time.After(2 * emptyTime):
			t.Fatalf("%v does not end the kernel", sig)
		}
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
	var first unix.CPUSet
	if err := unix.SchedGetaffinity(0, &first); err != nil {
		b.t.Fatal(err)
	}
	for cpu, kept := 0, false; cpu < 8*int(unsafe.Sizeof(first)); cpu++ {
		if kept {
			first.Clear(cpu)
		}
		kept = kept || first.IsSet(cpu)
	}
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

// TestFreezeCheckpointRestore keeps memory and disk, twice, under other names and
// addresses, while the original goes on.
func TestFreezeCheckpointRestore(t *testing.T) {
	h := newHost(t)
	b := h.start("origin", "")
	b.want("/count", "1")
	b.want("/fill?path=/kept&mb=1", "ok")
	ctx := context.Background()
	if err := b.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := b.Checkpoint(ctx, dir); err != nil {
		t.Fatal(err)
	}
	if err := b.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "2")
	for n := range 2 {
		copied := h.start(fmt.Sprintf("copy-%d", n), dir)
		copied.want("/count", "2")
		copied.want("/hostname", fmt.Sprintf("name-of-copy-%d", n))
		if _, data := copied.ask("/read?path=/kept"); len(data) != 1<<20 {
			t.Errorf("the file in the writable layer has %d bytes", len(data))
		}
		copied.want("/count", "3")
	}
	b.want("/count", "3")
}

// TestCheckpointOfAFullGuest: its memory and the checkpoint's pages together are more
// than it may have.
func TestCheckpointOfAFullGuest(t *testing.T) {
	h := newHost(t)
	b := h.start("full", "")
	limit := b.spec.Resources.MemoryMB
	b.want(fmt.Sprintf("/hold?mb=%d", limit*7/10), "ok")
	allowed := func() int64 {
		dir := h.driver.cgroups.memoryDir(b.spec.ID)
		return max(readInt(filepath.Join(dir, "memory.max")), readInt(filepath.Join(dir, "memory.limit_in_bytes"))) >> 20
	}
	ctx, dir := t.Context(), t.TempDir()
	if err := b.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Checkpoint(ctx, dir); err != nil {
		t.Fatal(err)
	}
	if got := allowed(); got < limit*17/10 {
		t.Errorf("with the checkpoint's pages it may have %d MiB", got)
	}
	b.Tidy()
	if used := h.driver.cgroups.memoryOf(b.spec.ID); used.all-used.clean > limit<<20 && allowed() == limit {
		t.Error("the limit is back although the guest would not survive it")
	}
	unix.Sync() // now the pages can go
	b.Tidy()
	if got := allowed(); got != limit {
		t.Errorf("it may have %d MiB, of %d", got, limit)
	}
	if err := b.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "1")
	h.start("copy-of-full", dir).want("/count", "1")
}

// TestFailedCheckpoint leaves the guest frozen and alive.
func TestFailedCheckpoint(t *testing.T) {
	b := newHost(t).start("fails", "")
	b.want("/count", "1")
	ctx := context.Background()
	if err := b.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Checkpoint(ctx, filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a checkpoint into nowhere succeeded")
	}
	if err := b.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "2")
}

// TestAdopt takes a guest over with nothing but its spec, as a new process would.
func TestAdopt(t *testing.T) {
	h := newHost(t)
	b := h.start("adopted", "")
	b.want("/count", "1")
	again, err := h.driver.Adopt(context.Background(), b.spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Freeze(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := again.Thaw(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "2")
	if err := h.driver.Reclaim(context.Background(), func(id string) bool { return id == "adopted" }); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "3")
	gone := b.spec
	gone.ID, gone.Dir = "never", t.TempDir()
	if _, err := h.driver.Adopt(context.Background(), gone); err != runtime.ErrGone {
		t.Errorf("adopting nothing: %v", err)
	}
	// What no record names is removed.
	if err := h.driver.Reclaim(context.Background(), func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-b.Done():
	case <-time.After(2 * emptyTime):
		t.Error("the reclaimed guest lives")
	}
}

// TestAdoptInACheckpoint: whoever takes a guest over while a checkpoint holds its tasks,
// which one who is gone has asked for, does not take that for a freeze.
func TestAdoptInACheckpoint(t *testing.T) {
	h := newHost(t)
	b := h.start("saved", "")
	b.want("/hold?mb=300", "ok")
	box, done := b.Guest.(*guest).box, make(chan error, 1)
	go func() { done <- b.Checkpoint(context.Background(), t.TempDir()) }()
	stacks := func() string {
		text, err := box.Stacks()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for !strings.Contains(stacks(), savingFrame) && len(done) == 0 {
	}
	again, err := h.driver.Adopt(context.Background(), b.spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Freeze(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if tasks, stopped, _ := countTasks(stacks()); tasks == 0 || stopped < tasks {
		t.Errorf("after the freeze %d of %d tasks run", tasks-stopped, tasks)
	}
	if err := again.Thaw(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "1")
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

// TestReclaimStray: a kernel whose starter died before it put it into its cgroup.
func TestReclaimStray(t *testing.T) {
	h := newHost(t)
	b := h.start("stray", "")
	b.want("/count", "1") // while it boots, stubs are born
	for _, root := range h.driver.cgroups.roots {
		for _, pid := range h.driver.cgroups.processes("stray") {
			_ = os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		}
	}
	if left := h.driver.cgroups.processes("stray"); len(left) > 0 {
		t.Fatalf("still in the cgroup: %v", left)
	}
	if err := h.driver.Reclaim(context.Background(), func(id string) bool { return id == "stray" }); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "2")
	if err := h.driver.Reclaim(context.Background(), func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	select {
	case <-b.Done():
	case <-time.After(2 * emptyTime):
		t.Error("the stray guest lives")
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

// TestAdoptFrozen: a process that takes a guest over cannot know whether it was
// frozen; thawing must work either way, and a thaw too many would end it.
func TestAdoptFrozen(t *testing.T) {
	h := newHost(t)
	b := h.start("frozen", "")
	b.want("/count", "1")
	ctx := context.Background()
	adopt := func() runtime.Guest {
		t.Helper()
		g, err := h.driver.Adopt(ctx, b.spec)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	if err := adopt().Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "2")
	for range 2 {
		if err := b.Freeze(ctx); err != nil {
			t.Fatal(err)
		}
	}
	again := adopt()
	for range 2 {
		if err := again.Thaw(ctx); err != nil {
			t.Fatal(err)
		}
	}
	b.want("/count", "3")
}

// TestCheckpointOfARunningGuest lets it go on, whether it succeeds or not.
func TestCheckpointOfARunningGuest(t *testing.T) {
	h := newHost(t)
	b := h.start("running", "")
	b.want("/count", "1")
	ctx := context.Background()
	if err := b.Checkpoint(ctx, filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a checkpoint into nowhere succeeded")
	}
	b.want("/count", "2")
	dir := t.TempDir()
	if err := b.Checkpoint(ctx, dir); err != nil {
		t.Fatal(err)
	}
	b.want("/count", "3")
	h.start("copy-of-running", dir).want("/count", "3")
}
