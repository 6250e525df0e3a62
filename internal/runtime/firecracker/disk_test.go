package firecracker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"shoal/internal/atomicfile"
	"shoal/internal/runtime"
	"shoal/internal/runtime/firecracker/program"
)

func file(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// changed makes a disk of a base, changes it at random places, and returns both with the layer.
func changed(t *testing.T, seed int64) (base, disk, layer string) {
	t.Helper()
	r := rand.New(rand.NewSource(seed))
	data := make([]byte, 3<<20+8192)
	_, _ = r.Read(data[1<<20 : 2<<20])
	base = file(t, data)
	disk = filepath.Join(t.TempDir(), "disk")
	if err := clone(base, disk); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 1 + r.Intn(20) {
		part := make([]byte, 1+r.Intn(10_000))
		if r.Intn(2) == 0 {
			_, _ = r.Read(part)
		}
		if _, err := f.WriteAt(part, r.Int63n(int64(len(data)-len(part)))); err != nil {
			t.Fatal(err)
		}
	}
	g := guestWithDisk(t, base)
	if err := os.Rename(disk, g.jail.path(diskFile)); err != nil {
		t.Fatal(err)
	}
	disk, layer = g.jail.path(diskFile), filepath.Join(t.TempDir(), "layer")
	if err := g.captureFile(context.Background(), layer); err != nil {
		t.Fatal(err)
	}
	return base, disk, layer
}

// guestWithDisk is a guest as far as its disk is concerned, which it does not have yet.
func guestWithDisk(t *testing.T, base string) *guest {
	t.Helper()
	g := &guest{jail: &jail{Dir: t.TempDir(), Base: "the-base-4"}, basePath: base}
	if err := os.Mkdir(g.jail.root(), 0o700); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestDiskOfAFile: a layer of a disk that is a file makes the same disk again.
func TestDiskOfAFile(t *testing.T) {
	for seed := range int64(30) {
		base, disk, layer := changed(t, seed)
		if name, err := baseOf(layer); err != nil || name != "the-base-4" {
			t.Errorf("the layer belongs to %q (%v)", name, err)
		}
		g := guestWithDisk(t, base)
		if err := g.copyDisk(context.Background(), layer); err != nil {
			t.Fatal(err)
		}
		want, _ := os.ReadFile(disk)
		if got, _ := os.ReadFile(g.jail.path(diskFile)); !bytes.Equal(got, want) {
			t.Errorf("with the seed %d the disk is another one", seed)
		}
		if taken := allocated(layer); taken > 2<<20 {
			t.Errorf("with the seed %d the layer takes %d bytes", seed, taken)
		}
	}
}

func TestSparseFiles(t *testing.T) {
	sparse := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(sparse)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(5 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("something"), 3<<20); err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile(sparse)
	copied := filepath.Join(t.TempDir(), "copied")
	if err := clone(sparse, copied); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(copied); err != nil || !bytes.Equal(got, want) || allocated(copied) > 1<<20 {
		t.Errorf("the copy takes %d bytes (%v)", allocated(copied), err)
	}
}

func TestNames(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"a-b", "a_b", "a--b", "a-u", "a-_", "a_-", "i123"} {
		name := jailName(id)
		if other, ok := seen[name]; ok {
			t.Errorf("%s and %s are both %s", id, other, name)
		}
		seen[name] = id
	}
	one, other := runtime.NewRoot("/a/sha256-1.erofs"), runtime.NewRoot("/b/sha256-1.erofs")
	if baseName(one, 64) != baseName(other, 64) || baseName(one, 64) == baseName(one, 65) {
		t.Error("names of bases")
	}
	if room, ok := roomOf(baseName(one, 640)); room != 640 || !ok {
		t.Errorf("the room is %d", room)
	}
	for n, want := range map[int]int{0: 1, 1: 1, 2: 2, 3: 4, 8: 8, 31: 32, 100: 32} {
		if got := virtualCPUs(n); got != want {
			t.Errorf("%d processors are %d", n, got)
		}
	}
}

// TestRemoveRoots: of what was made of roots stays what is needed, what a guest has, and what was used lately.
func TestRemoveRoots(t *testing.T) {
	dir, run := t.TempDir(), t.TempDir()
	needed, guests, gone := runtime.NewRoot("/i/a", "/i/b"), runtime.NewRoot("/i/c"), runtime.NewRoot("/i/a")
	d := &Driver{opts: Options{BaseDir: dir, RunDir: run, Programs: program.Open(t.TempDir())}, bases: bases{dir: dir}}
	long := time.Now().Add(-time.Hour)
	put := func(name string, used time.Time) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, make([]byte, 8192), 0o600), os.Chtimes(path, used, used)); err != nil {
			t.Fatal(err)
		}
	}
	stays := []string{baseName(needed, 64) + baseSuffix, baseName(needed, 640) + baseSuffix, baseName(guests, 64) + baseSuffix}
	for _, name := range stays {
		put(name, long)
	}
	lately := baseName(gone, 65) + baseSuffix
	put(lately, time.Now())
	for _, name := range []string{baseName(gone, 64) + baseSuffix, "of-an-earlier-version" + baseSuffix, "6.1-gone" + initrdSuffix} {
		put(name, long)
	}
	put(".begun"+atomicfile.Suffix, long)
	record := fmt.Sprintf(`{"dir":"/x","base":%q}`, baseName(guests, 64))
	if err := os.WriteFile(filepath.Join(run, "guest.json"), []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	removed, bytes, err := d.RemoveRoots([]runtime.Root{needed}, time.Now().Add(-time.Minute))
	if removed != 3 || bytes != 3*8192 || err != nil {
		t.Errorf("removed %d of %d bytes, %v", removed, bytes, err)
	}
	if err := d.bases.removeUnfinished(); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	want := append(stays, lately)
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("left are %v, want %v", left, want)
	}
	// A guest that begins from it keeps one that nobody needs otherwise.
	if err := os.Chtimes(filepath.Join(dir, lately), long, long); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.bases.get(gone, 65); err != nil {
		t.Fatal(err)
	}
	if removed, _, err := d.RemoveRoots([]runtime.Root{needed}, time.Now().Add(-time.Minute)); removed != 0 || err != nil {
		t.Errorf("removed %d that a guest begins from, %v", removed, err)
	}
}
