package account

import (
	"path/filepath"
	"strings"
	"testing"
)

// FuzzResolve holds every path that is accepted to be absolute, and an absolute one to stay
// as it came.
func FuzzResolve(f *testing.F) {
	for _, path := range []string{"", "~", "~/a", "~other/a", `~\a`, "a", "../a", "/a/../b", "//a", "a\x00b", "~~"} {
		f.Add(path, "", "/home/user")
		f.Add(path, "/work", "")
		f.Add("", path, "/home/user")
	}
	f.Fuzz(func(t *testing.T, path, workdir, home string) {
		if home != "" && !filepath.IsAbs(home) {
			return // no account has such a home
		}
		got, err := User{Home: home}.Resolve(path, workdir)
		if err != nil {
			if !strings.HasPrefix(path+workdir, "~") && !strings.Contains(path+workdir, "\x00") {
				t.Errorf("%q in %q: %v", path, workdir, err)
			}
			return
		}
		if strings.Contains(got, "\x00") && !strings.Contains(home, "\x00") {
			t.Errorf("%q in %q is %q, which the kernel does not take", path, workdir, got)
		}
		if !filepath.IsAbs(got) {
			t.Errorf("%q in %q is %q, which is relative", path, workdir, got)
		}
		if filepath.IsAbs(path) && got != path {
			t.Errorf("%q has become %q", path, got)
		}
	})
}
