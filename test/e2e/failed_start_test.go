package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/test/installation"
)

// TestFailedStart: a start that cannot go on says why, and leaves nothing on the host.
func TestFailedStart(t *testing.T) {
	t.Run("no base image can be made", func(t *testing.T) {
		i, err := installation.New(repository, "failed", 87, "PATH="+t.TempDir(), "SHOAL_IMAGE_DIR="+t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		failToStart(t, i, "mmdebstrap is not installed", func() error {
			_, err := i.Up() // which calls down then
			return err
		})
	})
	t.Run("the kernel cannot be written", func(t *testing.T) {
		i, err := installation.New(repository, "failed", 87)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(i.DataDir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(i.DataDir, "kernels"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		failToStart(t, i, "extract the sandbox kernel", func() error { // where down cannot go on either
			p, err := i.Start("up")
			if err != nil {
				return err
			}
			return p.AwaitLine(installation.Ready, installation.FirstStart)
		})
		// The lock of its name is left, which down removes once nothing is in its way.
		if err := i.Down(); err != nil {
			t.Error(err)
		}
		if err := i.Remove(); err != nil {
			t.Error(err)
		}
	})
}

// failToStart starts an installation, which must fail with the message, and removes its files.
func failToStart(t *testing.T, i *installation.Installation, message string, start func() error) {
	t.Helper()
	before, err := installation.ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	if err := start(); err == nil {
		t.Error("it started")
	} else if !strings.Contains(err.Error(), message) {
		t.Error(err)
	}
	after, err := installation.ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	for _, leak := range before.Diff(after) {
		if strings.Contains(leak, "failed") && !strings.HasPrefix(leak, "files: ") { // others change meanwhile
			t.Error("LEAK", leak)
		}
	}
	if err := i.Remove(); err != nil {
		t.Error(err)
	}
}
