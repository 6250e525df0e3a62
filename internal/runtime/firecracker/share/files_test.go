package share

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/volume/meter"
)

func isErr(err, want error) bool { return errors.Is(err, want) }

func TestFiles(t *testing.T) {
	if !inside(t) {
		return
	}
	m := mount(t, t.TempDir())
	m.serve(nil)
	large := bytes.Repeat([]byte("0123456789abcdef"), 3<<16+5)
	must(t, os.WriteFile(m.in("file"), large, 0o640))
	wantText(t, m.host("file"), string(large))
	wantText(t, m.in("file"), string(large))
	must(t, os.WriteFile(m.host("file"), []byte("of the host"), 0))
	wantText(t, m.in("file"), "of the host")
	info, err := os.Stat(m.in("file"))
	must(t, err)
	if info.Mode() != 0o640 || info.Size() != 11 {
		t.Errorf("mode %v, size %d", info.Mode(), info.Size())
	}

	must(t, os.Chown(m.in("file"), 1234, 2345))
	must(t, unix.Chmod(m.in("file"), 0o4755))
	then := time.Unix(1_000_000_000, 123456789)
	must(t, os.Chtimes(m.in("file"), then, then))
	var st unix.Stat_t
	must(t, unix.Stat(m.host("file"), &st))
	if st.Uid != 1234 || st.Gid != 2345 || st.Mode&0o7777 != 0o4755 || st.Mtim.Sec != then.Unix() || st.Mtim.Nsec != 123456789 {
		t.Errorf("%+v", st)
	}
	must(t, os.Symlink("no/such", m.in("link")))
	target, err := os.Readlink(m.in("link"))
	if err != nil || target != "no/such" {
		t.Errorf("the link leads to %q (%v)", target, err)
	}
	must(t, os.Lchown(m.in("link"), 5, 6))
	must(t, os.Link(m.in("file"), m.in("other")))
	must(t, unix.Lstat(m.in("link"), &st))
	if st.Uid != 5 {
		t.Errorf("the link is %d's", st.Uid)
	}
	must(t, os.Mkdir(m.in("dir"), 0o2755))
	must(t, os.Rename(m.in("other"), m.in("dir/renamed")))
	wantText(t, m.host("dir/renamed"), "of the host")
	wantErr(t, "exchange", unix.Renameat2(unix.AT_FDCWD, m.in("dir/renamed"), unix.AT_FDCWD, m.in("link"), unix.RENAME_EXCHANGE), nil)
	wantErr(t, "not replace", unix.Renameat2(unix.AT_FDCWD, m.in("file"), unix.AT_FDCWD, m.in("link"), unix.RENAME_NOREPLACE), unix.EEXIST)
	wantErr(t, "remove a full directory", os.Remove(m.in("dir")), unix.ENOTEMPTY)
	wantErr(t, "make a device", unix.Mknod(m.in("device"), unix.S_IFCHR|0o666, 0x103), unix.EPERM)
	must(t, unix.Mkfifo(m.in("fifo"), 0o600))

	must(t, unix.Setxattr(m.in("file"), "user.name", []byte("value"), 0))
	value := make([]byte, 20)
	n, err := unix.Getxattr(m.host("file"), "user.name", value)
	if err != nil || string(value[:n]) != "value" {
		t.Errorf("the attribute is %q (%v)", value[:n], err)
	}
	n, err = unix.Listxattr(m.in("file"), value)
	if err != nil || string(value[:n]) != "user.name\x00" {
		t.Errorf("the attributes are %q (%v)", value[:n], err)
	}
	must(t, unix.Removexattr(m.in("file"), "user.name"))
}

func TestContent(t *testing.T) {
	if !inside(t) {
		return
	}
	m := mount(t, t.TempDir())
	m.serve(nil)

	// Both append where the end is by now, whoever has moved it.
	a, err := os.OpenFile(m.in("log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	must(t, err)
	b, err := os.OpenFile(m.host("log"), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	for n := range 5 {
		fmt.Fprintf(a, "a%d ", n)
		fmt.Fprintf(b, "b%d ", n)
	}
	must(t, errors.Join(a.Close(), b.Close()))
	wantText(t, m.in("log"), "a0 b0 a1 b1 a2 b2 a3 b3 a4 b4 ")

	f, err := os.Create(m.in("holes"))
	must(t, err)
	_, err = f.WriteAt([]byte("end"), 1<<20)
	must(t, err)
	if at, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA); err != nil || at != 1<<20 {
		t.Errorf("there is data at %d (%v)", at, err)
	}
	must(t, unix.Fallocate(int(f.Fd()), 0, 0, 8192))
	must(t, os.Remove(m.in("holes"))) // it is open still
	must(t, f.Truncate(5))
	_, err = f.WriteAt([]byte("hello"), 0)
	must(t, errors.Join(err, f.Sync()))
	copied, err := os.Create(m.in("copy"))
	must(t, err)
	if n, err := unix.CopyFileRange(int(f.Fd()), new(int64), int(copied.Fd()), nil, 100, 0); err != nil || n != 5 {
		t.Errorf("copied %d (%v)", n, err)
	}
	must(t, errors.Join(f.Close(), copied.Close()))
	wantText(t, m.host("copy"), "hello")

	var names []string
	for n := range 3000 {
		names = append(names, fmt.Sprintf("a-name-that-is-not-so-short-%04d", n))
	}
	must(t, os.Mkdir(m.host("many"), 0o755))
	for _, name := range names {
		must(t, os.WriteFile(m.host("many/"+name), nil, 0o644))
	}
	entries, err := os.ReadDir(m.in("many"))
	must(t, err)
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	if slices.Sort(found); !slices.Equal(found, names) {
		t.Errorf("there are %d of %d names", len(found), len(names))
	}

	program, err := os.ReadFile("/bin/true")
	must(t, err)
	must(t, os.WriteFile(m.in("program"), program, 0o755))
	if err := exec.Command(m.in("program")).Run(); err != nil {
		t.Errorf("execute: %v", err)
	}
}

// TestOthers looks who may what: the guest's kernel asks for owners and modes.
func TestOthers(t *testing.T) {
	if !inside(t) {
		return
	}
	m := mount(t, t.TempDir())
	must(t, os.Chmod(m.dir, 0o777))
	m.serve(nil)
	must(t, os.WriteFile(m.host("secret"), []byte("secret"), 0o600))
	must(t, os.Chmod(m.at+"/..", 0o755))
	must(t, os.Chmod(m.at+"/../..", 0o755))
	as := func(script string) string {
		cmd := exec.Command("sh", "-c", script)
		cmd.Dir = m.at
		cmd.SysProcAttr = nobody()
		out, err := cmd.CombinedOutput()
		return fmt.Sprintf("%s %v", strings.TrimSpace(string(out)), err)
	}
	if got := as("umask 027; mkdir own; echo x > own/file; stat -c '%u:%g %a' own own/file"); got != "1000:1000 750\n1000:1000 640 <nil>" {
		t.Errorf("a user's own files: %s", got)
	}
	if got := as("cat secret"); !strings.Contains(got, "denied") {
		t.Errorf("another's file: %s", got)
	}
}

func TestRoom(t *testing.T) {
	if !inside(t) {
		return
	}
	m := mount(t, t.TempDir())
	counter, err := os.Create(t.TempDir() + "/counter")
	must(t, err)
	const limit = 4 << 20
	m.meter, err = meter.Open(counter, limit, m.dir)
	must(t, errors.Join(err, counter.Close()))
	m.serve(nil)
	f, err := os.Create(m.in("file"))
	must(t, err)
	defer f.Close()
	part := bytes.Repeat([]byte{1}, 300_000)
	written := 0
	for err == nil && written < 2*limit {
		var n int
		n, err = f.Write(part)
		written += n
	}
	wantErr(t, "fill the volume", err, unix.ENOSPC)
	if written < limit*3/4 || written > limit {
		t.Errorf("%d of %d bytes were written", written, limit)
	}
	_, err = f.WriteAt(part, 4096)
	wantErr(t, "write over", err, nil)
	wantErr(t, "allocate", unix.Fallocate(int(f.Fd()), 0, 0, 2*limit), unix.ENOSPC)
	must(t, f.Truncate(0))
	waitFor(t, "there is room again", func() bool { _, err := f.WriteAt(part, 0); return err == nil })
}

// TestForgotten has the guest's kernel know no more than a few files at once, but for those that are open.
func TestForgotten(t *testing.T) {
	if !inside(t) {
		return
	}
	m := mount(t, t.TempDir())
	m.known = 100
	m.serve(nil)
	open, err := os.Create(m.in("open"))
	must(t, err)
	defer open.Close()
	for n := range 2000 {
		must(t, os.WriteFile(m.host(fmt.Sprint("file", n)), []byte("text"), 0o644))
		_, err := os.Stat(m.in(fmt.Sprint("file", n)))
		must(t, err)
	}
	waitFor(t, "they are forgotten", func() bool { m.server.mu.Lock(); defer m.server.mu.Unlock(); return len(m.server.nodes) < 150 })
	wantText(t, m.in("file0"), "text")
	_, err = open.WriteString("text")
	must(t, err)
	wantText(t, m.in("open"), "text")
}

// TestBroken has connections break all the time: nothing is done twice, and nothing not at all.
func TestBroken(t *testing.T) {
	if !inside(t) {
		return
	}
	m := mount(t, t.TempDir())
	m.serve(nil)
	stop := make(chan struct{})
	var breaking sync.WaitGroup
	breaking.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Millisecond):
				m.server.Save(t.Context())
				m.connect()
			}
		}
	})
	var work sync.WaitGroup
	for w := range 4 {
		work.Go(func() {
			name := m.in(fmt.Sprint("log", w))
			f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o644)
			if err != nil {
				t.Error(err)
				return
			}
			var want strings.Builder
			for n := range 150 {
				fmt.Fprintln(&want, n)
				if _, err := fmt.Fprintln(f, n); err != nil {
					t.Error(err)
				}
				dir := m.in(fmt.Sprint("dir", w))
				if err := errors.Join(os.Mkdir(dir, 0o755), os.Rename(dir, dir+"x"), os.Remove(dir+"x")); err != nil {
					t.Error(err)
				}
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			wantText(t, name, want.String())
		})
	}
	work.Wait()
	close(stop)
	breaking.Wait()
}
