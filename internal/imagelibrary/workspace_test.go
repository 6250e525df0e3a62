package imagelibrary

import (
	"os"
	"path/filepath"
	"testing"

	"shoal/internal/registry"
)

// TestWhatIsLeft: the next start removes the workspace of a process that has exited, and
// keeps one that another process is using.
func TestWhatIsLeft(t *testing.T) {
	l := open(t, Config{}, registry.Config{})
	work, err := l.workspace()
	must(t, err)
	for _, left := range []string{"root-123", "layout-456/blobs"} {
		must(t, os.MkdirAll(filepath.Join(l.workspaceDir, left), 0o700))
	}
	_, err = Open(Config{Images: l.images, Dir: filepath.Dir(l.dir)})
	must(t, err)
	entries, err := os.ReadDir(l.workspaceDir)
	must(t, err)
	if len(entries) != 1 || filepath.Join(l.workspaceDir, entries[0].Name()) != work.dir {
		t.Errorf("left: %v, in use: %s", entries, work.dir)
	}
	work.remove()
}
