package e2e

import (
	"strings"
	"testing"

	"shoal/test/installation"
)

// TestFailedStart: a start that cannot make the base image says why, and leaves nothing on
// the host.
func TestFailedStart(t *testing.T) {
	before, err := installation.ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	i, err := installation.New(repository, "failed", 87, "PATH="+t.TempDir(), "SHOAL_IMAGE_DIR="+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if p, err := i.Up(); err == nil {
		t.Error("it started without a base image:", p.Tail())
	} else if !strings.Contains(err.Error(), "mmdebstrap is not installed") {
		t.Error(err)
	}
	if err := i.Remove(); err != nil {
		t.Error(err)
	}
	after, err := installation.ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	for _, leak := range before.Diff(after) {
		if strings.Contains(leak, "failed") { // others change meanwhile
			t.Error("LEAK", leak)
		}
	}
}
