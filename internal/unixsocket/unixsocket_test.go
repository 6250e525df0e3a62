package unixsocket

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLongPath: the path may be longer than an address, and what was there is replaced.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "socket")
	for range 2 {
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := Dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		l.Close()
	}
	if _, err := Dial(t.Context(), path); err == nil {
		t.Error("nobody listens, and a connection was made")
	}
	if _, err := Listen(filepath.Join(dir, "missing", "socket")); err == nil {
		t.Error("a socket in a directory that is not there")
	}
}
