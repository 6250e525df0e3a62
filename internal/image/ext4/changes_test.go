package ext4_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shoal/internal/image"
	"shoal/internal/image/ext4"
)

// build makes a base of files, by the writer that bases of guests are made by.
func build(t testing.TB, files map[string]*image.Node) (path string) {
	t.Helper()
	tree := image.NewTree()
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if err := tree.Put(name, files[name]); err != nil {
			t.Fatal(err)
		}
	}
	return write(t, tree)
}

func write(t testing.TB, tree *image.Tree) (path string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "base.ext4"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := image.WriteExt4(f, tree, 8<<20); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// edit returns a copy that debugfs has changed.
func edit(t testing.TB, base string, commands ...string) (disk string) {
	t.Helper()
	disk = filepath.Join(t.TempDir(), "disk.ext4")
	data, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(disk, data, 0o600); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte(strings.Join(commands, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("debugfs"); err != nil {
		t.Skip("no debugfs")
	}
	out, err := exec.Command("debugfs", "-w", "-f", script, disk).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "debugfs") && strings.Contains(line, ": ") && !strings.HasPrefix(line, "Allocated inode") {
			t.Fatalf("debugfs: %s", out)
		}
	}
	if err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
	return disk
}

func open(t testing.TB, path string) *ext4.FS {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fs, err := ext4.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

func changes(t testing.TB, base, disk string) (archive *os.File) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "changes.tar"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := ext4.Changes(t.Context(), f, open(t, base), open(t, disk)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

// contents lists a tar by the program of that name.
func contents(t testing.TB, archive *os.File) string {
	t.Helper()
	out, err := exec.Command("tar", "-tvf", archive.Name(), "--numeric-owner", "--full-time", "--utc").CombinedOutput()
	if err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if f[0][0] == 'c' && f[2] == "0,0" {
			lines = append(lines, f[5]+" gone")
			continue
		}
		lines = append(lines, strings.Join(append(f[5:], f[0], f[1], f[2]), " "))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func files() map[string]*image.Node {
	shared := image.NewFile(0o644, []byte("shared"))
	return map[string]*image.Node{
		"etc/passwd": image.NewFile(0o644, []byte("root")), "etc/shadow": image.NewFile(0o600, []byte("secret")),
		"usr/bin/one": shared, "usr/bin/two": shared, "usr/bin/other": image.NewFile(0o755, bytes.Repeat([]byte("x"), 9000)),
		"usr/share/deep/down/file": image.NewFile(0o644, []byte("deep")), "usr/share/deep/down/also": image.NewFile(0o644, nil),
		"var/log/old": image.NewFile(0o644, nil), "var/lib/gone/a": image.NewFile(0o644, nil), "var/lib/gone/b": image.NewFile(0o644, nil),
		"link": image.NewLink("etc/passwd"), "home": image.NewDir(0o755),
		"dev/null": {Mode: unix.S_IFCHR | 0o666, Device: unix.Mkdev(1, 3)},
	}
}

func TestNothingChanged(t *testing.T) {
	base := build(t, files())
	archive := changes(t, base, base)
	if list := contents(t, archive); list != "" {
		t.Errorf("what is as it was has changed:\n%s", list)
	}
	tree, err := image.FromTar(archive)
	if err != nil || !tree.Empty() {
		t.Errorf("a layer of nothing: %v", err)
	}
}

func TestChanges(t *testing.T) {
	base := build(t, files())
	content := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(content, []byte("new content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		commands []string
		want     string
	}{
		"a new file": {[]string{"write " + content + " home/new"},
			"./ drwxr-xr-x 0/0 0\n./home/ drwxr-xr-x 0/0 0\n./home/new -rw------- 0/0 11"},
		"a mode": {[]string{"sif etc/shadow mode 0100640", "sif etc/shadow uid 100000"},
			"./ drwxr-xr-x 0/0 0\n./etc/ drwxr-xr-x 0/0 0\n./etc/shadow -rw-r----- 100000/0 6"},
		"a file that is gone": {[]string{"rm var/log/old"},
			"./ drwxr-xr-x 0/0 0\n./var/ drwxr-xr-x 0/0 0\n./var/log/ drwxr-xr-x 0/0 0\n./var/log/old gone"},
		"a directory that is gone": {[]string{"rm var/lib/gone/a", "rm var/lib/gone/b", "rmdir var/lib/gone"},
			"./ drwxr-xr-x 0/0 0\n./var/ drwxr-xr-x 0/0 0\n./var/lib/ drwxr-xr-x 0/0 0\n./var/lib/gone gone"},
		"a directory's mode": {[]string{"sif usr/share mode 041777"},
			"./ drwxr-xr-x 0/0 0\n./usr/ drwxr-xr-x 0/0 0\n./usr/share/ drwxrwxrwt 0/0 0"},
		"the root's mode": {[]string{"sif / mode 040700"}, "./ drwx------ 0/0 0"},
		"a moved directory": {[]string{"ln usr/share/deep home/moved", "unlink usr/share/deep"},
			"./ drwxr-xr-x 0/0 0\n./home/ drwxr-xr-x 0/0 0\n./home/moved/ drwxr-xr-x 0/0 0\n./home/moved/down/ drwxr-xr-x 0/0 0\n" +
				"./home/moved/down/also -rw-r--r-- 0/0 0\n./home/moved/down/file -rw-r--r-- 0/0 4\n" +
				"./usr/ drwxr-xr-x 0/0 0\n./usr/share/ drwxr-xr-x 0/0 0\n./usr/share/deep gone"},
		"one more name": {[]string{"ln usr/bin/one usr/bin/three", "sif usr/bin/one links_count 3"},
			"./ drwxr-xr-x 0/0 0\n./usr/ drwxr-xr-x 0/0 0\n./usr/bin/ drwxr-xr-x 0/0 0\n./usr/bin/one -rw-r--r-- 0/0 6\n" +
				"./usr/bin/three link to ./usr/bin/one h--------- 0/0 0\n./usr/bin/two link to ./usr/bin/one h--------- 0/0 0"},
		"a link in place of a file": {[]string{"rm etc/passwd", "symlink etc/passwd ../home/passwd"},
			"./ drwxr-xr-x 0/0 0\n./etc/ drwxr-xr-x 0/0 0\n./etc/passwd -> ../home/passwd lrwxrwxrwx 0/0 0"},
		"a directory in place of a file": {[]string{"rm etc/passwd", "mkdir etc/passwd", "write " + content + " etc/passwd/in"},
			"./ drwxr-xr-x 0/0 0\n./etc/ drwxr-xr-x 0/0 0\n./etc/passwd/ drwxr-xr-x 0/0 0\n./etc/passwd/in -rw------- 0/0 11"},
		"a file in place of a directory": {[]string{"rm var/lib/gone/a", "rm var/lib/gone/b", "rmdir var/lib/gone",
			"write " + content + " var/lib/gone"},
			"./ drwxr-xr-x 0/0 0\n./var/ drwxr-xr-x 0/0 0\n./var/lib/ drwxr-xr-x 0/0 0\n./var/lib/gone -rw------- 0/0 11"},
		"devices": {[]string{"cd home", "mknod fifo p", "mknod disk b 8 1", "mknod tty c 5 1"},
			"./ drwxr-xr-x 0/0 0\n./home/ drwxr-xr-x 0/0 0\n./home/disk brw-rw-rw- 0/0 8,1\n" +
				"./home/fifo prw-rw-rw- 0/0 0\n./home/tty crw-rw-rw- 0/0 5,1"},
		"a socket in place of a file": {[]string{"sif etc/passwd mode 0140644", "sif usr/bin/other mode 0140644"},
			"./ drwxr-xr-x 0/0 0\n./etc/ drwxr-xr-x 0/0 0\n./etc/passwd gone\n" +
				"./usr/ drwxr-xr-x 0/0 0\n./usr/bin/ drwxr-xr-x 0/0 0\n./usr/bin/other gone"},
		"lost and found":   {[]string{"rmdir lost+found", "sif / mtime @1234567890"}, "./ drwxr-xr-x 0/0 0"},
		"when it was read": {[]string{"sif etc/passwd atime @1234567890"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			disk := edit(t, base, c.commands...)
			archive := changes(t, base, disk)
			got := contents(t, archive)
			if plain(got) != plain(c.want) {
				t.Errorf("changes:\n%s\nwant:\n%s", got, c.want)
			}
			layered(t, archive, disk)
		})
	}
}

// plain leaves out the permissions of files that debugfs has made by a umask of its own.
func plain(list string) string {
	return madeBy.ReplaceAllString(list, "$1")
}

var madeBy = regexp.MustCompile(`( [pbc])[-rwx]{9}`)

// layered holds the base with a tar as a layer on it to what the disk has.
func layered(t *testing.T, archive *os.File, disk string) {
	t.Helper()
	s, err := image.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	put := func(tree *image.Tree) string {
		t.Helper()
		digest, _, err := s.Put(tree)
		if err != nil {
			t.Fatal(err)
		}
		path, err := s.Path(digest)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	lower := image.NewTree()
	for name, node := range files() {
		if err := lower.Put(name, node); err != nil {
			t.Fatal(err)
		}
	}
	below := put(lower)
	upper, err := image.FromTar(archive)
	if err != nil {
		t.Fatal(err)
	}
	if err := upper.Rest(below); err != nil {
		t.Fatal(err)
	}
	merged, err := image.FromImages(below, put(upper))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := dump(t, write(t, merged)), dump(t, disk); got != want {
		t.Errorf("the layer makes:\n%s\nthe disk has:\n%s", got, want)
	}
}

// dump says what a file system has, by debugfs. Sockets are left out.
func dump(t *testing.T, path string) string {
	t.Helper()
	var lines []string
	var walk func(dir string)
	walk = func(dir string) {
		out, err := exec.Command("debugfs", "-R", "ls -p "+dir, path).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			f := strings.Split(strings.TrimSpace(line), "/") // /inode/mode/uid/gid/name/size/
			if len(f) < 7 || f[5] == "." || f[5] == ".." || f[5] == "lost+found" || strings.HasPrefix(f[2], "14") {
				continue
			}
			name := dir + "/" + f[5]
			what := ""
			switch f[2][:2] {
			case "04":
				walk(name)
			case "10":
				data, err := exec.Command("debugfs", "-R", "cat "+name, path).Output()
				if err != nil {
					t.Fatal(err)
				}
				what = fmt.Sprintf(" %q", data)
			}
			lines = append(lines, fmt.Sprintf("%s %s %s:%s%s", name, f[2], f[3], f[4], what))
		}
	}
	walk("")
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}
