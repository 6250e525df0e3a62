package page

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

// TestDamage: whatever is wrong with the files is named, and no page of it is given to anybody.
func TestDamage(t *testing.T) {
	tmp, r := t.TempDir(), rand.New(rand.NewPCG(8, 8))
	m := newImage(300)
	for i := range 300 {
		m.fill(r, i)
	}
	good := filepath.Join(tmp, "good")
	keep(t, good, Dump{File: m.dump(t, filepath.Join(tmp, "d"), nil)})
	m.fill(r, 9)
	keep(t, good, Dump{File: m.dump(t, filepath.Join(tmp, "d"), map[int]bool{9: true}), Parent: good})
	ids, err := readChain(good)
	if err != nil {
		t.Fatal(err)
	}
	base, diff := ids[0].String()+layerSuffix, ids[1].String()+layerSuffix
	flip := func(name string, at int64) func(dir string) error {
		return func(dir string) error {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			if at < 0 {
				at += int64(len(b))
			}
			b[at] ^= 0x40
			return os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
	}
	cut := func(name string, left int64) func(dir string) error {
		return func(dir string) error { return os.Truncate(filepath.Join(dir, name), left) }
	}
	cases := map[string]struct {
		do      func(dir string) error
		want    *shoal.Kind
		opens   bool // it is found when the page is read
		because string
	}{
		"a page":           {flip(base, 4*Size+77), shoal.ErrSnapshotDamaged, true, "page 4 "},
		"the last page":    {flip(base, 299*Size), shoal.ErrSnapshotDamaged, true, "page 299 "},
		"a page of a diff": {flip(diff, 0), shoal.ErrSnapshotDamaged, true, diff},
		"the index":        {flip(base, 300*Size+3), shoal.ErrSnapshotDamaged, false, "index"},
		"the footer":       {flip(base, -60), shoal.ErrSnapshotDamaged, false, "footer"},
		"the magic":        {flip(base, -footerSize), shoal.ErrSnapshotDamaged, false, "cut short"},
		"cut short":        {cut(base, 200*Size), shoal.ErrSnapshotDamaged, false, "cut short"},
		"empty":            {cut(diff, 0), shoal.ErrSnapshotDamaged, false, "cut short"},
		"no layer": {func(dir string) error { return os.Remove(filepath.Join(dir, base)) },
			shoal.ErrSnapshotMissing, false, base},
		"a layer for another": {func(dir string) error { return os.Rename(filepath.Join(dir, base), filepath.Join(dir, diff)) },
			shoal.ErrSnapshotMissing, false, base},
		"layers in another order": {func(dir string) error { return writeChain(dir, []LayerID{ids[1], ids[0]}, 0) },
			shoal.ErrSnapshotDamaged, false, "stands on"},
		"a chain of nothing": {func(dir string) error { return os.WriteFile(filepath.Join(dir, chainFile), []byte("{}"), 0o600) },
			shoal.ErrSnapshotDamaged, false, chainFile},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range []string{chainFile, base, diff} {
				if err := copyLayer(filepath.Join(good, f), filepath.Join(dir, f), 0); err != nil {
					t.Fatal(err)
				}
			}
			m.is(t, dir)
			if err := c.do(dir); err != nil {
				t.Fatal(err)
			}
			have, err := Open(dir)
			if (err == nil) != c.opens {
				t.Fatalf("open: %v", err)
			}
			if err == nil {
				defer have.Close()
				if err = have.Verify(context.Background()); err == nil {
					t.Fatal("Verify finds nothing")
				}
				got := newImage(300)
				if readErr := have.readPages(got, 0); !shoal.ErrSnapshotDamaged.Matches(readErr) {
					t.Errorf("read: %v", readErr)
				}
			}
			if !c.want.Matches(err) {
				t.Fatalf("%v", err)
			}
			var e *shoal.Error
			if errors.As(err, &e); strings.Contains(e.Message, "/") {
				t.Errorf("a tenant would read %q", e.Message)
			}
			if cause := errors.Unwrap(e); !strings.Contains(cause.Error(), c.because) {
				t.Errorf("the operator reads %q, without %q", cause, c.because)
			}
		})
	}
}

// TestKeepRefuses what is no guest's memory, or another's.
func TestKeepRefuses(t *testing.T) {
	tmp := t.TempDir()
	one := filepath.Join(tmp, "one")
	keep(t, one, Dump{File: newImage(10).dump(t, filepath.Join(tmp, "d"), nil)})
	odd := filepath.Join(tmp, "odd")
	if err := os.WriteFile(odd, make([]byte, Size+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]Dump{
		"no file":        {File: filepath.Join(tmp, "none")},
		"half a page":    {File: odd},
		"another size":   {File: newImage(11).dump(t, filepath.Join(tmp, "e"), nil), Parent: one},
		"without parent": {File: newImage(10).dump(t, filepath.Join(tmp, "f"), nil), Parent: filepath.Join(tmp, "none")},
	} {
		dir := t.TempDir()
		if _, err := Keep(context.Background(), dir, d); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := Open(dir); !shoal.ErrSnapshotMissing.Matches(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
