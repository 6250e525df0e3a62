package sparse

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestCopy: a copy has what the file has, and the file's holes; Overlay leaves what is there between.
func TestCopy(t *testing.T) {
	const block = 64 << 10
	create := func(name string) *os.File {
		f, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	parts := func(f *os.File) (sum int64) {
		if err := Each(f, 8*block, func(from, to int64) error { sum += to - from; return nil }); err != nil {
			t.Fatal(err)
		}
		return sum
	}
	from := create("from")
	for _, at := range []int64{1, 5} {
		if _, err := from.WriteAt(bytes.Repeat([]byte{byte(at)}, block), at*block); err != nil {
			t.Fatal(err)
		}
	}
	if err := from.Truncate(8*block - 3); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(from.Name())
	if err != nil {
		t.Fatal(err)
	}
	to := create("to")
	if err := Copy(t.Context(), to, from); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(to.Name()); err != nil || !bytes.Equal(got, want) || parts(to) != 2*block {
		t.Errorf("the copy differs, or has %d bytes of data (%v)", parts(to), err)
	}

	over := create("over")
	if _, err := over.WriteAt(bytes.Repeat([]byte{9}, 8*block), 0); err != nil {
		t.Fatal(err)
	}
	if err := Overlay(t.Context(), over, from); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(over.Name())
	if err != nil || got[0] != 9 || got[block] != 1 || got[2*block] != 9 || got[5*block] != 5 || len(got) != 8*block {
		t.Errorf("what lay between was lost (%v)", err)
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Copy(ended, create("late"), from); !errors.Is(err, context.Canceled) {
		t.Errorf("a copy that nobody wants: %v", err)
	}
}
