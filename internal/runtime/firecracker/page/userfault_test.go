package page

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSupported: what root has, a Firecracker in a jail need not have.
func TestSupported(t *testing.T) {
	if err := Supported(); err != nil {
		t.Skip(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	none := filepath.Join(dir, "none")
	for name, c := range map[string]struct{ device, setting, want string }{
		"device":              {userfaultDevice, file("0", "0\n"), ""},
		"for all":             {none, file("1", "1\n"), ""},
		"before the setting":  {none, none, ""},
		"for root alone":      {none, file("0", "0\n"), "unprivileged_userfaultfd=1"},
		"not the right thing": {file("device", ""), none, "CONFIG_USERFAULTFD"},
	} {
		if _, err := os.Stat(c.device); c.device == userfaultDevice && err != nil {
			continue // Linux before 6.1
		}
		err := supported(c.device, c.setting)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
