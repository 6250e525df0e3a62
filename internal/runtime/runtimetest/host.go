// Package runtimetest holds implementations of runtime.Runtime to one set of promises
// (Run), and is a machine for the tests that an implementation has of its own (Host).
package runtimetest

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/guest"
	"shoal/internal/image"
	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// Host is a machine for guests: a runtime, network slots and the image of a guest that
// does what it is asked.
type Host struct {
	T       testing.TB
	Runtime runtime.Runtime
	Images  *image.Store
	Root    runtime.Root // of guests that start from now on
	Clocks  Clocks       // what the runtime says of them
	pool    *network.Pool
}

// NewHost needs root. All of the host is gone when the test ends.
func NewHost(t testing.TB, rt runtime.Runtime) *Host {
	t.Helper()
	h := &Host{T: t, Runtime: rt}
	pool, err := network.NewPool(network.Config{Name: "rt", HostCIDR: netip.MustParsePrefix("10.73.0.0/16"),
		VethCIDR: netip.MustParsePrefix("10.74.0.0/16"), StateFile: filepath.Join(t.TempDir(), "host.json")}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h.pool = pool
	t.Cleanup(func() {
		if err := pool.Teardown(); err != nil {
			t.Error(err)
		}
	})
	if h.Images, err = image.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	h.Root = runtime.NewRoot(h.PutImage(map[string]*image.Node{
		"init":       image.NewFile(0o755, Program(t, GuestProgram)),
		"image-file": image.NewFile(0o644, []byte("from the image")),
		"proc":       image.NewDir(0o755), "sys": image.NewDir(0o755), "dev": image.NewDir(0o755),
		// Over an empty /tmp gVisor mounts a file system in memory.
		"tmp/.keep": image.NewFile(0o644, nil),
	}))
	return h
}

// GuestProgram is the package of the guests' first process, which holds so many MiB of memory if it
// has an argument.
const GuestProgram = "shoal/internal/runtime/runtimetest/guest"

// ProgramsVariable names a directory with programs that are built already, for machines without Go:
// each by the last part of its package's path.
const ProgramsVariable = "SHOAL_TEST_PROGRAMS"

// Program builds a package, or a file, into a program that needs no library.
func Program(t testing.TB, source string) []byte {
	t.Helper()
	if dir := os.Getenv(ProgramsVariable); dir != "" {
		data, err := os.ReadFile(filepath.Join(dir, filepath.Base(source)))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	program := filepath.Join(t.TempDir(), "program")
	build := exec.Command("go", "build", "-o", program, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", source, err, out)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// ProgramFile builds a package into a program, as Program does, and returns its path.
func ProgramFile(t testing.TB, source string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(source))
	if err := os.WriteFile(path, Program(t, source), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// PutImage makes an image of files and returns its path.
func (h *Host) PutImage(files map[string]*image.Node) string {
	h.T.Helper()
	tree := image.NewTree()
	for name, node := range files {
		if err := tree.Put(name, node); err != nil {
			h.T.Fatal(err)
		}
	}
	return h.putTree(tree)
}

func (h *Host) putTree(tree *image.Tree) string {
	h.T.Helper()
	digest, _, err := h.Images.Put(tree)
	if err != nil {
		h.T.Fatal(err)
	}
	path, err := h.Images.Path(digest)
	if err != nil {
		h.T.Fatal(err)
	}
	return path
}

// Guest is a started guest with its slot.
type Guest struct {
	runtime.Guest
	Spec runtime.Spec
	host *Host
	slot *network.Slot
}

// Spec describes a guest in a slot of its own.
func (h *Host) Spec(id string) (runtime.Spec, *network.Slot) {
	h.T.Helper()
	slot, err := h.pool.Acquire(context.Background())
	if err != nil {
		h.T.Fatal(err)
	}
	h.T.Cleanup(func() { h.pool.Release(slot) })
	return runtime.Spec{ID: id, Dir: h.T.TempDir(), UpperDir: h.T.TempDir(), Root: h.Root, Hostname: "name-of-" + id,
		Resources: shoal.Resources{CPUCount: 2, MemoryMB: 512, DiskMB: 64}, MaxProcesses: 100,
		First: runtime.Process{Args: []string{"/init"}}, Link: guest.LinkOf(slot)}, slot
}

// Start starts a guest; checkpoint is what it is restored from, "" is a boot.
func (h *Host) Start(id, checkpoint string) *Guest {
	h.T.Helper()
	spec, slot := h.Spec(id)
	return h.Boot(spec, slot, checkpoint)
}

// Boot is Start by a given description. The guest ends with the test.
func (h *Host) Boot(spec runtime.Spec, slot *network.Slot, checkpoint string, volumes ...runtime.Volume) *Guest {
	h.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	g, err := h.TryStart(ctx, spec, checkpoint, volumes...)
	if err != nil {
		h.T.Fatal(err)
	}
	return h.watch(g, spec, slot)
}

// TryStart is Boot of a guest that may not come up, and that the caller ends.
func (h *Host) TryStart(
	ctx context.Context, spec runtime.Spec, checkpoint string, volumes ...runtime.Volume,
) (runtime.Guest, error) {
	shell, err := h.Runtime.Prepare(ctx, spec)
	if err != nil {
		return nil, err
	}
	if checkpoint != "" {
		return shell.Restore(ctx, checkpoint, volumes)
	}
	return shell.Start(ctx)
}

// watch makes sure that a guest ends with the test.
func (h *Host) watch(g runtime.Guest, spec runtime.Spec, slot *network.Slot) *Guest {
	h.T.Cleanup(func() {
		if err := g.Kill(context.Background()); err != nil {
			h.T.Errorf("kill %s: %v", spec.ID, err)
		}
	})
	return &Guest{Guest: g, Spec: spec, host: h, slot: slot}
}

var guestClient = &http.Client{Timeout: 10 * time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}

// Ask waits for the guest to listen and returns the answer and its status.
func (g *Guest) Ask(path string) (int, string) {
	t := g.host.T
	t.Helper()
	deadline := time.Now().Add(askTime)
	for {
		resp, err := guestClient.Get("http://" + g.slot.HostIP().String() + ":49983" + path)
		if err == nil {
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return resp.StatusCode, string(body)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v; console:\n%s", path, err, g.Console())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// askTime bounds the wait for a guest to listen, also on emulated processors.
const askTime = 5 * time.Minute

// Want fails the test if the guest answers otherwise.
func (g *Guest) Want(path, want string) {
	g.host.T.Helper()
	if status, got := g.Ask(path); status != 200 || got != want {
		g.host.T.Errorf("%s = %d %q, want %q", path, status, got, want)
	}
}

// Ends waits for the guest's end, which something is to bring about.
func (g *Guest) Ends(by string) {
	g.host.T.Helper()
	select {
	case <-g.Done():
	case <-time.After(endTime):
		g.host.T.Fatalf("%s does not end the guest", by)
	}
}

// endTime bounds the wait for an end, and for what the host removes after it.
const endTime = time.Minute

// Adopt takes the guest over as a new process would, with nothing but its description.
func (g *Guest) Adopt() runtime.Guest {
	g.host.T.Helper()
	again, err := g.host.Runtime.Adopt(context.Background(), g.Spec)
	if err != nil {
		g.host.T.Fatal(err)
	}
	return again
}
