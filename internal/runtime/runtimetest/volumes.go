package runtimetest

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime"
)

var volumes = []promise{
	{"volumes", "what guests and the host write to a volume is seen by all at once", sharedVolume},
	{"volumerestore", "a restored guest has its volumes, whatever happened to them meanwhile", restoredVolume},
	{"volumelocks", "a restored guest has its locks again, or an error where somebody else has them", restoredLocks},
}

// volume is a directory as a volume that appears at /mnt/volume.
func volume(dir string) runtime.Volume {
	return runtime.Volume{ID: "the-volume", Dir: dir, Path: "/mnt/volume"}
}

func (g *Guest) mount(v runtime.Volume) {
	g.host.T.Helper()
	if err := g.Mount(context.Background(), v); err != nil {
		g.host.T.Fatal(err)
	}
}

// refuses fails the test unless the guest answers with an error that has the text.
func (g *Guest) refuses(path, text string) {
	g.host.T.Helper()
	if status, got := g.Ask(path); status != 500 || !strings.Contains(got, text) {
		g.host.T.Errorf("%s = %d %q, want an error with %q", path, status, got, text)
	}
}

func sharedVolume(t *testing.T, h *Host) {
	ctx, dir := context.Background(), t.TempDir()
	a, b := h.Start("a", ""), h.Start("b", "")
	a.Want("/count", "1")
	if err := a.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	a.mount(volume(dir))
	if err := a.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	b.Want("/count", "1")
	b.mount(volume(dir))

	a.Want("/write?path=/mnt/volume/file&text=of+a", "ok")
	b.Want("/read?path=/mnt/volume/file", "of a")
	b.Want("/write?path=/mnt/volume/file&text=of+b", "ok")
	a.Want("/read?path=/mnt/volume/file", "of b")
	put(t, filepath.Join(dir, "file"), "of the host")
	a.Want("/read?path=/mnt/volume/file", "of the host")
	b.Want("/remove?path=/mnt/volume/file", "ok")
	a.refuses("/read?path=/mnt/volume/file", "no such file")

	// A link is the guest's own to follow.
	secret := filepath.Join(t.TempDir(), "secret")
	put(t, secret, "of the host")
	if err := os.Symlink(secret, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	a.refuses("/read?path=/mnt/volume/link", "no such file")

	// Programs can be executed.
	if err := os.WriteFile(filepath.Join(dir, "program"), Program(t, GuestProgram), 0o755); err != nil {
		t.Fatal(err)
	}
	a.Want("/child?program=/mnt/volume/program&mb=0", "ok")

	// It can be mounted again, and by who has adopted the guest.
	again := &Guest{Guest: a.Adopt(), Spec: a.Spec, host: h, slot: a.slot}
	again.mount(volume(dir))
	a.Want("/write?path=/mnt/volume/file&text=again", "ok")
	b.Want("/read?path=/mnt/volume/file", "again")
}

func restoredVolume(t *testing.T, h *Host) {
	ctx, dir, checkpoint := context.Background(), t.TempDir(), t.TempDir()
	a := h.Start("a", "")
	a.Want("/count", "1")
	a.mount(volume(dir))
	for _, name := range []string{"kept", "removed", "replaced", "gone"} {
		a.Want("/write?path=/mnt/volume/"+name+"&text="+name, "ok")
		a.Want("/keep?path=/mnt/volume/"+name, "ok")
	}
	remove(t, filepath.Join(dir, "gone")) // before the checkpoint
	a.refuses("/read?path=/mnt/volume/gone", "no such file")
	if err := a.Checkpoint(ctx, checkpoint); err != nil {
		t.Fatal(err)
	}
	a.Want("/read?path=/mnt/volume/kept", "kept")
	if err := a.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	remove(t, filepath.Join(dir, "removed"))
	remove(t, filepath.Join(dir, "replaced"))
	if err := os.Mkdir(filepath.Join(dir, "replaced"), 0o755); err != nil {
		t.Fatal(err)
	}

	spec, slot := h.Spec("b")
	b := h.Boot(spec, slot, checkpoint, volume(dir))
	b.Want("/kept?path=/mnt/volume/kept", "kept")
	b.Want("/read?path=/mnt/volume/kept", "kept")
	for _, name := range []string{"removed", "replaced", "gone"} {
		if status, text := b.Ask("/kept?path=/mnt/volume/" + name); status != 500 {
			t.Errorf("the open file %s: %d %s", name, status, text)
		}
	}
	b.refuses("/read?path=/mnt/volume/removed", "no such file")
	b.Want("/write?path=/mnt/volume/removed&text=anew", "ok")
	b.Want("/read?path=/mnt/volume/removed", "anew")
	b.refuses("/read?path=/mnt/volume/replaced", "is a directory")

	// Without its volume, the guest goes on, and can have it again.
	c := h.Start("c", checkpoint)
	c.refuses("/read?path=/mnt/volume/kept", "input/output error")
	c.refuses("/kept?path=/mnt/volume/kept", "input/output error")
	c.Want("/hostname", "name-of-c")
	c.mount(volume(dir))
	c.Want("/read?path=/mnt/volume/kept", "kept")
}

func restoredLocks(t *testing.T, h *Host) {
	ctx, dir, checkpoint := context.Background(), t.TempDir(), t.TempDir()
	a := h.Start("a", "")
	a.Want("/count", "1")
	a.mount(volume(dir))
	for name, how := range map[string]string{"whole": "flock", "part": "fcntl", "taken": "flock", "taken part": "fcntl"} {
		put(t, filepath.Join(dir, name), "content")
		path := "/mnt/volume/" + url.QueryEscape(name)
		a.Want("/keep?write=1&path="+path, "ok")
		a.Want("/lock?path="+path+"&how="+how, "ok")
	}
	whole, part := lockOf(t, dir, "whole"), lockOf(t, dir, "part")
	taken, takenPart := lockOf(t, dir, "taken"), lockOf(t, dir, "taken part")
	for _, l := range []*lock{whole, part, taken, takenPart} {
		l.want(unix.EWOULDBLOCK)
	}
	if err := a.Checkpoint(ctx, checkpoint); err != nil {
		t.Fatal(err)
	}
	if err := a.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	taken.want(nil)
	takenPart.want(nil)

	spec, slot := h.Spec("b")
	b := h.Boot(spec, slot, checkpoint, volume(dir))
	b.refuses("/kept?path=/mnt/volume/taken", "input/output error")
	again := t.TempDir()
	if err := b.Checkpoint(ctx, again); err != nil {
		t.Fatal(err)
	}
	if err := b.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	takenPart.close() // it is free, but it has been somebody else's

	spec, slot = h.Spec("c")
	b = h.Boot(spec, slot, again, volume(dir))
	whole.want(unix.EWOULDBLOCK)
	part.want(unix.EWOULDBLOCK)
	b.Want("/kept?path=/mnt/volume/whole", "content")
	for name, un := range map[string]string{"taken": "funlock", "taken part": "unlock"} {
		path := "/mnt/volume/" + url.QueryEscape(name)
		b.refuses("/kept?path="+path, "input/output error")
		b.Want("/lock?path="+path+"&how="+un, "ok")
		b.Want("/kept?path="+path, "content") // it has no lock any more, and knows
	}
	b.refuses("/lock?path=/mnt/volume/taken&how=flock", "temporarily unavailable")
	taken.close()
	b.Want("/lock?path=/mnt/volume/taken&how=flock", "ok")
	b.Want("/lock?path=/mnt/volume/whole&how=funlock", "ok")
	whole.want(nil)
}

// lock is the host's, on bytes 2 to 4 of a file of a volume and, if it is of the whole file, on that.
type lock struct {
	t    *testing.T
	file *os.File
	part bool
}

func lockOf(t *testing.T, dir, name string) *lock {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &lock{t, f, strings.HasSuffix(name, "part")}
}

// want tries to take the lock.
func (l *lock) want(want error) {
	l.t.Helper()
	err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if l.part {
		err = unix.FcntlFlock(l.file.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 2, Len: 3})
	}
	if !errors.Is(err, want) {
		l.t.Errorf("lock %s: %v, want %v", l.file.Name(), err, want)
	}
}

func (l *lock) close() { l.file.Close() }

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}
