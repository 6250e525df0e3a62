package gvisor

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

// ends waits for the guest's end, which something is to bring about.
func (b *booted) ends(by string) {
	b.t.Helper()
	select {
	case <-b.Done():
	case <-time.After(2 * emptyTime):
		b.t.Fatalf("%s does not end the guest", by)
	}
}
