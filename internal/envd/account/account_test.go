package account

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

const passwd = `root:x:0:0:root:/root:/bin/bash
# comment:x:1:1::/:/bin/sh
broken line
user:x:1000:1001:User,,,:/home/user:/bin/bash
user:x:2000:2000:second record:/nowhere:/bin/sh
homeless:x:1002:1002:::
bad:x:abc:1:::
`

const group = "root:x:0:\nusers:x:100:user, other\nown:x:1001:user\nsudo:x:27:user\n"

func database(t *testing.T) (*Database, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"passwd": passwd, "group": group} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return NewDatabase(filepath.Join(dir, "passwd"), filepath.Join(dir, "group")), dir
}

func TestLookup(t *testing.T) {
	d, _ := database(t)
	u, err := d.Lookup("user")
	if err != nil || u.UID != 1000 || u.GID != 1001 || u.Home != "/home/user" || u.Shell != "/bin/bash" ||
		!slices.Equal(u.Groups, []uint32{100, 27}) {
		t.Errorf("%+v, %v", u, err)
	}
	again, _ := d.Lookup("user")
	if !slices.Equal(again.Groups, u.Groups) {
		t.Errorf("the second look-up has the groups %v", again.Groups)
	}
	if u, err := d.Lookup("1000"); err != nil || u.Name != "user" {
		t.Errorf("by number: %+v, %v", u, err)
	}
	for _, name := range []string{"", "bad", "nobody-here", "3000", "# comment"} {
		if _, err := d.Lookup(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if owner, group := d.Names().Of(1000, 27); owner != "user" || group != "sudo" {
		t.Errorf("names %s, %s", owner, group)
	}
	if owner, group := d.Names().Of(4000, 4001); owner != "4000" || group != "4001" {
		t.Errorf("names %s, %s", owner, group)
	}
}

func TestLookupSeesChanges(t *testing.T) {
	d, dir := database(t)
	path := filepath.Join(dir, "passwd")
	if _, err := d.Lookup("user"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(passwd+"late:x:5:5::/late:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if u, err := d.Lookup("late"); err != nil || u.UID != 5 {
		t.Errorf("a new user: %+v, %v", u, err)
	}
	// The same size, another time.
	if err := os.WriteFile(path, []byte(passwd+"last:x:6:6::/late:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if u, err := d.Lookup("last"); err != nil || u.UID != 6 {
		t.Errorf("a renamed user: %+v, %v", u, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if u, err := d.Lookup("root"); err != nil || u.Home != "/root" {
		t.Errorf("root without a file: %+v, %v", u, err)
	}
	if _, err := d.Lookup("user"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a user without a file: %v", err)
	}
}

func TestResolve(t *testing.T) {
	u := User{Home: "/home/user"}
	for _, c := range []struct{ path, workdir, want string }{
		{"", "", "/home/user"},
		{"", "/work", "/work"},
		{"", "~/w", "/home/user/w"},
		{"x", "/work", "/home/user/x"},
		{"./a/../b//c", "", "/home/user/b/c"},
		{"~", "/work", "/home/user"},
		{"~/x", "", "/home/user/x"},
		{`~\x`, "", `/home/user/\x`},
		{"/a/../b/", "", "/a/../b/"},
	} {
		if got, err := u.Resolve(c.path, c.workdir); err != nil || got != c.want {
			t.Errorf("%q in %q: %q, %v; want %q", c.path, c.workdir, got, err, c.want)
		}
	}
	if _, err := u.Resolve("~other/x", ""); !errors.Is(err, ErrPath) {
		t.Errorf("another home: %v", err)
	}
	if got, _ := (User{}).Resolve("x", ""); got != "/x" {
		t.Errorf("without a home: %q", got)
	}
}
