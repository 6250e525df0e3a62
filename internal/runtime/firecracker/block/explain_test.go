package block

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNoFreeDevice: what the kernel answers when all devices are in use becomes a sentence that says how many.
func TestNoFreeDevice(t *testing.T) {
	k := &Kernel{sys: t.TempDir(), dev: "/dev"}
	for n := range 2 {
		dir := filepath.Join(k.sys, "block", fmt.Sprintf("nbd%d", n))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pid"), []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, errno := range []error{unix.ENOSPC, unix.ENOMEM, unix.EBUSY, unix.EINVAL} {
		err := k.explain("attach a disk", errno)
		var unavailable *UnavailableError
		if !errors.As(err, &unavailable) || !unavailable.Full || !errors.Is(err, errno) || !strings.Contains(err.Error(), "2 are in use") {
			t.Errorf("%v: %v", errno, err)
		}
	}
	var unavailable *UnavailableError
	if err := k.explain("attach a disk", unix.EPERM); !errors.As(err, &unavailable) || unavailable.Full {
		t.Errorf("not root: %v", err)
	}
}
