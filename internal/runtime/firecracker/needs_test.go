package firecracker

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestNeedsAreBounded: what is needed first is kept of the memories that were used last, and of no more.
func TestNeedsAreBounded(t *testing.T) {
	n := needs{filepath.Join(t.TempDir(), "needs")}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	memory := func(name string) string {
		dir := filepath.Join(t.TempDir(), name)
		must(os.Mkdir(dir, 0o700))
		must(os.WriteFile(filepath.Join(dir, "memory.json"), []byte(name), 0o600))
		return dir
	}
	recorded := func(name string) string {
		dir := memory(name)
		must(os.WriteFile(filepath.Join(dir, needsFile), []byte("needs of "+name), 0o600))
		must(n.keep(dir))
		return dir
	}
	template, pause := recorded("template"), recorded("pause")
	long := time.Now().Add(-time.Hour)
	must(os.Chtimes(n.of(template), long, long))
	must(os.Chtimes(n.of(pause), long, long))
	for i := range maxNeeds - 2 {
		recorded(fmt.Sprint("other", i))
	}
	again := memory("template") // another directory of the same memory
	must(n.place(again))
	if data, err := os.ReadFile(filepath.Join(again, needsFile)); err != nil || string(data) != "needs of template" {
		t.Errorf("%q %v", data, err)
	}
	recorded("one more")
	if exists(n.of(pause)) || !exists(n.of(template)) {
		t.Errorf("of the one not used for longest there is something: %v; of one that was used: %v", exists(n.of(pause)), exists(n.of(template)))
	}
	if entries, err := os.ReadDir(n.dir); err != nil || len(entries) != maxNeeds {
		t.Errorf("%d are kept (%v)", len(entries), err)
	}
	must(n.place(memory("unknown")))
}
