package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"shoal/internal/envd/account"
)

// TestManyEntries: several processors describe what one does, in the same order.
func TestManyEntries(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 * manyEntries {
		must(os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), []byte("x"), 0o640))
	}
	must(os.Mkdir(filepath.Join(dir, "d"), 0o750))
	must(os.WriteFile(filepath.Join(dir, "d", "below"), nil, 0o600))
	must(os.Symlink("d", filepath.Join(dir, "link")))
	must(os.Symlink("nothing", filepath.Join(dir, "broken")))
	err := ReplaceMetadata(filepath.Join(dir, "f7"), map[string]string{"k": "v"})
	must(err)

	names := account.NewDatabase("/etc/passwd", "/etc/group")
	got, err := List(dir, 2, names)
	must(err)
	children, err := os.ReadDir(dir)
	must(err)
	want, err := describeEach(dir, children, names.Names())
	must(err)
	below, err := Stat(filepath.Join(dir, "d", "below"), names)
	must(err)
	want = append(want[:2:2], append([]Entry{below}, want[2:]...)...) // after "broken" and "d"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%d entries, %d are there", len(got), len(want))
	}

	must(os.Remove(filepath.Join(dir, "f3")))
	if left, err := describeAll(dir, children, names.Names()); err != nil || len(left) != len(children)-1 {
		t.Errorf("without one that vanished: %d of %d, %v", len(left), len(children), err)
	}
	if _, err := List(filepath.Join(dir, "f1"), 1, names); !errors.Is(err, ErrNotDirectory) {
		t.Error(err)
	}
}
