package build

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"shoal/internal/atomicfile"
)

const scope = "11111111-1111-4111-8111-111111111111"

var someHash = strings.Repeat("ab", 32)

func openFiles(t *testing.T) *Files {
	t.Helper()
	files, err := OpenFiles(filepath.Join(t.TempDir(), "files"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestFiles(t *testing.T) {
	files := openFiles(t)
	if _, err := files.Open(scope, someHash); !errors.Is(err, ErrNoFiles) {
		t.Errorf("%v", err)
	}
	for _, content := range []string{"first", "second", ""} {
		if err := files.Put(scope, someHash, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if got := readFiles(t, files); got != content {
			t.Errorf("%q, want %q", got, content)
		}
	}
	for _, c := range []struct {
		scope string
		want  bool
	}{{scope, true}, {"22222222-2222-4222-8222-222222222222", false}} {
		if has, err := files.Has(c.scope, someHash); err != nil || has != c.want {
			t.Errorf("%s: %v %v", c.scope, has, err)
		}
	}
	for _, c := range [][2]string{{"../x", someHash}, {scope, "../" + someHash},
		{scope, strings.ToUpper(someHash)}, {"", someHash}, {scope, ""}} {
		_, err := files.Has(c[0], c[1])
		if err == nil {
			t.Errorf("%v was accepted", c)
		}
		if err := files.Put(c[0], c[1], strings.NewReader("x")); err == nil {
			t.Errorf("%v was written", c)
		}
	}
}

func readFiles(t *testing.T, files *Files) string {
	t.Helper()
	f, err := files.Open(scope, someHash)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestBrokenPut: an interrupted upload keeps the previous archive and leaves nothing
// behind.
func TestBrokenPut(t *testing.T) {
	files := openFiles(t)
	if err := files.Put(scope, someHash, strings.NewReader("good")); err != nil {
		t.Fatal(err)
	}
	broken := io.MultiReader(strings.NewReader("bad"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if err := files.Put(scope, someHash, broken); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	if got := readFiles(t, files); got != "good" {
		t.Errorf("%q", got)
	}
	entries, err := os.ReadDir(filepath.Join(files.dir, scope))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
}

func TestConcurrentPuts(t *testing.T) {
	files := openFiles(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := files.Put(scope, someHash, bytes.NewReader(bytes.Repeat([]byte{byte('a' + i)},
				1<<20))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := readFiles(t, files)
	if len(got) != 1<<20 || strings.Count(got, got[:1]) != len(got) {
		t.Error("the file is a mixture")
	}
}

func TestFilesAreSwept(t *testing.T) {
	files := openFiles(t)
	put := func(hash string) string {
		if err := files.Put(scope, hash, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		path, _ := files.path(scope, hash)
		return path
	}
	age := func(path string, by time.Duration) {
		at := time.Now().Add(-by)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	old, used, recent := put(someHash), put(strings.Repeat("cd", 32)), put(strings.Repeat("ef", 32))
	litter, upload := filepath.Join(files.dir, scope, "1"+atomicfile.Suffix),
		filepath.Join(files.dir, scope, "2"+atomicfile.Suffix)
	for _, path := range []string{litter, upload} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	age(old, FileRetention+time.Hour)
	age(used, FileRetention+time.Hour)
	age(recent, FileRetention-time.Hour)
	age(litter, tempRetention+time.Hour)
	age(upload, tempRetention-time.Hour)
	if has, err := files.Has(scope, strings.Repeat("cd", 32)); err != nil || !has {
		t.Fatal(has, err)
	}
	if err := files.Sweep(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{old: false, used: true, recent: true, litter: false,
		upload: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", filepath.Base(path), err, want)
		}
	}
}

// TestKept: what a scope's files take is known while they come, and after a sweep.
func TestKept(t *testing.T) {
	files := openFiles(t)
	wants := func(what string, want int64) {
		t.Helper()
		if got, err := files.Kept(scope); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", what, got, err, want)
		}
	}
	wants("nothing", 0)
	during := iotest.OneByteReader(strings.NewReader("12345"))
	seen := int64(0)
	if err := files.Put(scope, someHash, readerFunc(func(p []byte) (int, error) {
		wants("under way", seen)
		n, err := during.Read(p)
		seen += int64(n)
		return n, err
	})); err != nil {
		t.Fatal(err)
	}
	wants("stored", 5)
	if err := files.Put(scope, strings.Repeat("cd", 32), strings.NewReader("678")); err != nil {
		t.Fatal(err)
	}
	wants("two", 8)
	if err := files.Put(scope, someHash, strings.NewReader("1")); err != nil {
		t.Fatal(err)
	}
	wants("replaced", 4)
	broken := io.MultiReader(strings.NewReader("much"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if err := files.Put(scope, someHash, broken); err == nil {
		t.Fatal("a broken upload was stored")
	}
	wants("broken", 4)
	if err := os.Remove(filepath.Join(files.dir, scope, someHash+".tar")); err != nil {
		t.Fatal(err)
	}
	wants("removed by another process", 4)
	if err := files.Sweep(); err != nil {
		t.Fatal(err)
	}
	wants("swept", 3)
	if _, err := files.Kept("../x"); err == nil {
		t.Error("a scope that is none was accepted")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
