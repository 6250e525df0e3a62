package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/image"
	"shoal/internal/runtime"
)

var starts = []promise{
	{"runs", "a guest has its root, name, memory, disk and console", guestRuns},
	{"first-process", "a guest's first process has its arguments and environment", firstProcess},
	{"limits", "limits end in an error inside, and the guest goes on", guestLimits},
	{"largest", "a host without memory can end a guest's largest process", endLargest},
	{"yields", "a guest that yields leaves the processors to another", yields},
	{"layers", "several images make one root", layers},
	{"upper", "a writable layer is the beginning of another guest's", upper},
	{"changes", "what a guest has changed of its root is a layer on its images", changes},
	{"shells", "a shell becomes a guest, once", shells},
	{"ended", "an ended guest is gone", endedGuest},
	{"failed-start", "what cannot start leaves nothing", failedStart},
}

func guestRuns(t *testing.T, h *Host) {
	g := h.Start("runs", "")
	g.Want("/read?path=/image-file", "from the image")
	g.Want("/hostname", "name-of-runs")
	g.Want("/fill?path=/tmp/f&mb=10", "ok")
	// A kernel with a machine of its own takes some of that for itself.
	_, mem := g.Ask("/read?path=/proc/meminfo")
	var total int64
	if n, err := fmt.Sscanf(mem, "MemTotal: %d kB", &total); n != 1 || total > 512<<10 || total < 440<<10 {
		t.Errorf("the guest's memory: %.60s %v", mem, err)
	}
	if !strings.Contains(g.Console(), "guest begins") {
		t.Errorf("console: %q", g.Console())
	}
	stats, err := g.Stats(context.Background())
	if err != nil || stats.MemoryBytes <= 0 || g.CPUTime() <= 0 || stats.DiskBytes < 10<<20 {
		t.Errorf("stats: %+v %v", stats, err)
	}
}

func firstProcess(t *testing.T, h *Host) {
	spec, slot := h.Spec("first")
	spec.First.Env = []string{"COLOR=blue"}
	g := h.Boot(spec, slot, "")
	if _, env := g.Ask("/read?path=/proc/1/environ"); !strings.Contains(env, "COLOR=blue\x00") {
		t.Errorf("environment: %q", env)
	}
	if _, args := g.Ask("/read?path=/proc/1/cmdline"); args != "/init\x00" {
		t.Errorf("arguments: %q", args)
	}
}

func guestLimits(t *testing.T, h *Host) {
	g := h.Start("limits", "")
	if status, text := g.Ask("/fill?path=/big&mb=80"); status != 500 || !strings.Contains(text, "no space left") {
		t.Errorf("filling the disk: %d %s", status, text)
	}
	if status, text := g.Ask("/fork?n=200"); status != 500 || !strings.Contains(text, "temporarily unavailable") {
		t.Errorf("forking without end: %d %s", status, text)
	}
	g.Want("/count", "1")
}

func endLargest(t *testing.T, h *Host) {
	ctx := t.Context()
	g := h.Start("largest", "")
	g.Want("/count", "1")
	g.Want("/child?mb=20", "ok")
	g.Want("/child?mb=150", "ok")
	before, err := g.Stats(ctx)
	if err != nil || before.HeldBytes < 170<<20 || before.HeldBytes > before.MemoryBytes {
		t.Errorf("with 170 MiB in processes: %+v %v", before, err)
	}
	for _, want := range []int64{150 << 20, 20 << 20} {
		ended, err := g.EndLargest(ctx)
		if err != nil || ended.Name != "init" || ended.PID <= 1 || ended.Bytes < want || ended.Bytes > want+40<<20 {
			t.Errorf("the largest has %d MiB: ended %+v, %v", want>>20, ended, err)
		}
	}
	if after, err := g.Stats(ctx); err != nil || before.HeldBytes-after.HeldBytes < 85<<20 {
		t.Errorf("before %+v, afterwards %+v %v", before, after, err)
	}
	if ended, err := g.EndLargest(ctx); err != nil || ended.PID != 0 {
		t.Errorf("only the first process is left: ended %+v, %v", ended, err)
	}
	g.Want("/count", "2")
}

func yields(t *testing.T, h *Host) {
	var guests [2]*Guest
	for n, id := range []string{"one", "other"} {
		spec, slot := h.Spec(id)
		spec.Resources.CPUCount = goruntime.NumCPU()
		guests[n] = h.Boot(spec, slot, "")
		guests[n].Want("/burn", "ok")
	}
	for n, g := range guests {
		other := guests[1-n]
		if err := errors.Join(g.Yield(true), other.Yield(false)); err != nil {
			t.Fatal(err)
		}
		own, others := g.CPUTime(), other.CPUTime()
		time.Sleep(2 * time.Second) // some hundred time slices
		own, others = g.CPUTime()-own, other.CPUTime()-others
		if own > others/2 { // it may have a processor while the host moves the other's threads
			t.Errorf("the guest that yields used %s of the processors, the other %s", own, others)
		}
	}
}

func layers(t *testing.T, h *Host) {
	h.Root = runtime.NewRoot(append(h.Root.Images(),
		h.PutImage(map[string]*image.Node{
			"dir/first": image.NewFile(0o644, []byte("1")), "dir/both": image.NewFile(0o644, []byte("1"))}),
		h.PutImage(map[string]*image.Node{
			"dir/second": image.NewFile(0o644, []byte("2")), "dir/both": image.NewFile(0o644, []byte("2")),
			"image-file": {Mode: unix.S_IFCHR}, "dir/first": {Mode: unix.S_IFCHR}}))...)
	look := func(g *Guest) {
		t.Helper()
		g.Want("/read?path=/dir/second", "2")
		g.Want("/read?path=/dir/both", "2")
		for _, gone := range []string{"/image-file", "/dir/first"} {
			if status, body := g.Ask("/read?path=" + gone); status != 500 || !strings.Contains(body, "no such file") {
				t.Errorf("%s: %d %s", gone, status, body)
			}
		}
	}
	g := h.Start("layers", "")
	g.Want("/count", "1")
	look(g)
	g.Want("/fill?path=/dir/first&mb=1", "ok")
	checkpoint := t.TempDir()
	if err := g.Checkpoint(t.Context(), checkpoint); err != nil {
		t.Fatal(err)
	}
	again := h.Start("again", checkpoint)
	again.Want("/count", "2")
	again.Want("/remove?path=/dir/first", "ok")
	look(again)
}

// upper: the second guest can be checkpointed and restored without the file that its
// layer began with.
func upper(t *testing.T, h *Host) {
	spec, slot := h.Spec("writes")
	spec.Resources.MemoryMB, spec.Resources.DiskMB = 256, 1024
	g := h.Boot(spec, slot, "")
	g.Want("/fill?path=/kept&mb=1", "ok")
	g.Want("/fill?path=/large&mb=600", "ok") // more than the guest's memory
	g.Want("/remove?path=/image-file", "ok")
	ctx := context.Background()
	if err := g.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "upper.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Upper(ctx, f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	next, slot := h.Spec("begins")
	next.Resources, next.Upper = spec.Resources, path
	second := h.Boot(next, slot, "")
	check := func(g *Guest) {
		t.Helper()
		if _, data := g.Ask("/read?path=/kept"); len(data) != 1<<20 {
			t.Errorf("the written file has %d bytes", len(data))
		}
		if status, text := g.Ask("/read?path=/image-file"); status != 500 {
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
	last, slot := h.Spec("restored")
	last.Resources = spec.Resources
	check(h.Boot(last, slot, dir))
}

func shells(t *testing.T, h *Host) {
	ctx := t.Context()
	prepare := func(id string) (runtime.Shell, *Guest) {
		t.Helper()
		spec, slot := h.Spec(id)
		shell, err := h.Runtime.Prepare(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		return shell, &Guest{Spec: spec, host: h, slot: slot}
	}
	begin := func(g *Guest, started runtime.Guest, err error) *Guest {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return h.watch(started, g.Spec, g.slot)
	}
	shell, place := prepare("fresh")
	started, err := shell.Start(ctx)
	fresh := begin(place, started, err)
	fresh.Want("/count", "1")
	dir := t.TempDir()
	if err := fresh.Checkpoint(ctx, dir); err != nil {
		t.Fatal(err)
	}
	shell, place = prepare("back")
	started, err = shell.Restore(ctx, dir, nil)
	begin(place, started, err).Want("/count", "2")

	unused, _ := prepare("unused")
	select {
	case <-unused.Done():
		t.Error("an unused shell has ended")
	default:
	}
	if err := unused.Kill(ctx); err != nil {
		t.Error(err)
	}
	<-unused.Done()
	if _, err := unused.Start(ctx); !errors.Is(err, runtime.ErrGone) {
		t.Errorf("a start in a shell that has ended: %v", err)
	}
}

func endedGuest(t *testing.T, h *Host) {
	ctx := t.Context()
	g := h.Start("ends", "")
	g.Want("/count", "1")
	if err := g.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	g.Ends("a kill")
	for what, err := range map[string]error{"freeze": g.Freeze(ctx), "thaw": g.Thaw(ctx), "checkpoint": g.Checkpoint(ctx, t.TempDir())} {
		if !errors.Is(err, runtime.ErrGone) {
			t.Errorf("%s of a guest that has ended: %v", what, err)
		}
	}
	if _, err := h.Runtime.Adopt(ctx, g.Spec); !errors.Is(err, runtime.ErrGone) {
		t.Errorf("adopting it: %v", err)
	}
	if err := g.Kill(ctx); err != nil {
		t.Errorf("a second kill: %v", err)
	}
}

func failedStart(t *testing.T, h *Host) {
	spec, _ := h.Spec("fails")
	spec.First.Args = []string{"/no-such-program"}
	if g, err := h.TryStart(t.Context(), spec, ""); err == nil {
		t.Errorf("a guest without a program runs: %v", g.Kill(t.Context()))
	}
	if _, err := h.Runtime.Adopt(t.Context(), spec); !errors.Is(err, runtime.ErrGone) {
		t.Errorf("it can be adopted: %v", err)
	}
	if err := h.Runtime.Fits(runtime.Maker{Runtime: "another"}); !errors.Is(err, runtime.ErrUnfit) {
		t.Errorf("another runtime's checkpoint fits: %v", err)
	}
	if err := h.Runtime.Fits(h.Runtime.Maker()); err != nil {
		t.Errorf("its own checkpoints do not fit: %v", err)
	}
	other := h.Runtime.Maker()
	other.Version += "-other"
	if err := h.Runtime.Fits(other); !errors.Is(err, runtime.ErrUnfit) {
		t.Errorf("another version's checkpoint fits: %v", err)
	}
}
