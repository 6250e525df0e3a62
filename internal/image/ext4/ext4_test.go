package ext4

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tool runs a program of e2fsprogs, or skips the test.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("no %s", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func open(t testing.TB, path string) *FS {
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
	fs, err := Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// changes returns the tar of what changed between two files with file systems.
func changes(t testing.TB, base, disk string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "changes.tar"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := Changes(t.Context(), f, open(t, base), open(t, disk)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

// found is one entry of a tar.
type found struct {
	tar.Header
	content []byte
}

// list reads a tar by name. A content of more than 1 MiB is compared with the directory's, and not kept.
func list(t *testing.T, f *os.File, dir string) map[string]found {
	t.Helper()
	all := map[string]found{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		e := found{Header: *h}
		if h.Size <= 1<<20 {
			if e.content, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		} else {
			sparseContent(t, filepath.Join(dir, h.Name), f)
		}
		name := strings.TrimSuffix(h.Name, "/")
		if _, twice := all[name]; twice {
			t.Errorf("%s is there twice", name)
		}
		all[name] = e
	}
}

// fill makes a directory with files of all kinds.
func fill(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(at("file"), bytes.Repeat([]byte("content "), 5000), 0o640))
	must(os.WriteFile(at("empty"), nil, 0o400))
	must(os.Chtimes(at("file"), time.Time{}, time.Unix(1_234_567_890, 0)))
	must(os.Symlink("file", at("short")))
	must(os.Symlink(strings.Repeat("long/", 100), at("long")))
	must(os.MkdirAll(at("dir/in/it"), 0o2750))
	must(os.Link(at("file"), at("dir/hard")))
	must(os.Link(at("file"), at("a-hard")))
	must(unix.Mkfifo(at("fifo"), 0o600))
	must(os.Mkdir(at("many"), 0o755))
	for n := range 500 {
		must(os.WriteFile(at(fmt.Sprintf("many/%s-%04d", strings.Repeat("n", n%90), n)), []byte{byte(n)}, 0o600))
	}
	sparse, err := os.Create(at("sparse"))
	must(err)
	for _, offset := range []int64{0, 5 << 20, 9<<29 - 7} { // more than 4 GiB
		_, err := sparse.WriteAt([]byte("here"), offset)
		must(err)
	}
	for n := range int64(900) { // more extents than an inode and a block of them have
		_, err := sparse.WriteAt([]byte{1}, 1<<30+n*8192)
		must(err)
	}
	must(sparse.Close())
	must(os.WriteFile(at("program"), []byte("#!"), 0o755))
	if os.Geteuid() == 0 {
		must(unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		must(unix.Mknod(at("far"), unix.S_IFBLK|0o600, int(unix.Mkdev(300, 70_000))))
		must(os.Chown(at("program"), 100_000, 70_000))
		must(os.Chmod(at("program"), 0o755|fs.ModeSetuid))
	}
	for _, a := range [][2]string{{"user.short", "value"}, {"user.long", strings.Repeat("v", 2000)}, {"user.empty", ""}} {
		if err := unix.Setxattr(at("file"), a[0], []byte(a[1]), 0); err != nil {
			t.Logf("no extended attributes here: %v", err)
		}
	}
	// Root's capabilities of a file, and an access control list with a named user.
	_ = unix.Setxattr(at("program"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0)
	_ = unix.Setxattr(at("empty"), accessList, []byte("\x02\x00\x00\x00\x01\x00\x04\x00\xff\xff\xff\xff\x02\x00\x06\x00\xe8\x03\x00\x00"+
		"\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x06\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"), 0)
}

// TestReadsWhatOthersWrite reads file systems that e2fsprogs has made of a directory, of several kinds.
func TestReadsWhatOthersWrite(t *testing.T) {
	t.Setenv("E2FSPROGS_FAKE_TIME", "1700000000") // else lost+found may differ by a second
	dir := t.TempDir()
	fill(t, dir)
	for _, c := range []struct{ name, features, inode string }{
		{"default", "^has_journal", "256"},
		{"plain", "^has_journal,^64bit,^metadata_csum,uninit_bg", "1024"},
		{"pointers", "^has_journal,^64bit,^extents,^huge_file", "256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base, disk := filepath.Join(t.TempDir(), "base"), filepath.Join(t.TempDir(), "disk")
			options := []string{"-q", "-F", "-b", "4096", "-t", "ext4", "-N", "2048", "-I", c.inode, "-O", c.features}
			tool(t, "mke2fs", append(options, base, "6G")...)
			tool(t, "mke2fs", append(options, "-d", dir, disk, "6G")...)
			if out, err := exec.Command("e2fsck", "-fyD", disk).CombinedOutput(); err != nil {
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.ExitCode() != 1 { // 1 is that it has made indexes
					t.Fatalf("e2fsck: %v\n%s", err, out)
				}
			}
			if out := tool(t, "debugfs", "-R", "htree_dump /many", disk); !strings.Contains(out, "Number of entries") {
				t.Fatal(out)
			}
			compare(t, dir, changes(t, base, disk))
		})
	}
}

// compare holds a tar to what a directory has.
func compare(t *testing.T, dir string, archive *os.File) {
	t.Helper()
	all := list(t, archive, dir)
	count := 0
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		count++
		name := "." + strings.TrimPrefix(path, dir)
		e, ok := all[name]
		if !ok {
			t.Errorf("%s is not there", name)
			return nil
		}
		if name == "." {
			return nil // mke2fs has times and owner of its own for it
		}
		same(t, path, name, e, all)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count != len(all) {
		t.Errorf("%d entries of %d files", len(all), count)
	}
	var sparse unix.Stat_t
	if err := unix.Fstat(int(archive.Fd()), &sparse); err != nil || sparse.Blocks*512 > 40<<20 {
		t.Errorf("the tar takes %d bytes (%v)", sparse.Blocks*512, err)
	}
}

func same(t *testing.T, path, name string, e found, all map[string]found) {
	t.Helper()
	if e.Typeflag == tar.TypeLink {
		first, ok := all[e.Linkname]
		if !ok {
			t.Fatalf("%s is a link to %s, which is not there", name, e.Linkname)
		}
		e = first
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if e.FileInfo().Mode() != info.Mode() && info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("%s: mode %v, want %v", name, e.FileInfo().Mode(), info.Mode())
	}
	if e.Uid != int(st.Uid) || e.Gid != int(st.Gid) || e.ModTime.Unix() != info.ModTime().Unix() {
		t.Errorf("%s: %d:%d %v, want %d:%d %v", name, e.Uid, e.Gid, e.ModTime, st.Uid, st.Gid, info.ModTime())
	}
	switch info.Mode().Type() {
	case 0:
		if e.Size != info.Size() {
			t.Errorf("%s: %d bytes, want %d", name, e.Size, info.Size())
		}
		if e.Size > 1<<20 {
			return // compared already
		}
		if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, e.content) {
			t.Errorf("%s: another content (%v)", name, err)
		}
	case fs.ModeSymlink:
		if target, _ := os.Readlink(path); target != e.Linkname {
			t.Errorf("%s leads to %q, want %q", name, e.Linkname, target)
		}
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		if unix.Mkdev(uint32(e.Devmajor), uint32(e.Devminor)) != st.Rdev {
			t.Errorf("%s: device %d:%d", name, e.Devmajor, e.Devminor)
		}
	}
	attributes(t, path, name, e)
}

func attributes(t *testing.T, path, name string, e found) {
	t.Helper()
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return // none here
	}
	for _, key := range strings.Split(strings.Trim(string(names[:n]), "\x00"), "\x00") {
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, key, value)
		if key == "" || err != nil || n == 0 || strings.HasPrefix(key, "security.selinux") {
			continue
		}
		if got := e.PAXRecords[attributePrefix+key]; got != string(value[:n]) {
			t.Errorf("%s: %s is %q, want %q", name, key, got, value[:n])
		}
	}
}

// sparseContent compares, of a file with holes, what is not a hole; the archive is where its content begins.
func sparseContent(t *testing.T, path string, archive *os.File) {
	t.Helper()
	want, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	begin, err := archive.Seek(0, io.SeekCurrent)
	if err != nil {
		t.Fatal(err)
	}
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; {
		data, err := want.Seek(at, unix.SEEK_DATA)
		if err != nil {
			break // no more
		}
		n, _ := want.ReadAt(a, data)
		if _, err := archive.ReadAt(b[:n], begin+data); err != nil || !bytes.Equal(a[:n], b[:n]) {
			t.Fatalf("the file with holes is another at %d (%v)", data, err)
		}
		at = data + int64(n)
	}
	if _, err := archive.Seek(begin, io.SeekStart); err != nil {
		t.Fatal(err)
	}
}
