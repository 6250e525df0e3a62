package atomicfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestWriteFile replaces what is there, with the mode asked for.
func TestWriteFile(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	for _, d := range []Durability{Volatile, Durable} {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		for _, c := range []struct {
			content string
			mode    fs.FileMode
		}{{"a longer first content", 0o600}, {"second", 0o644}, {"", 0o755}} {
			must(t, WriteFile(path, []byte(c.content), c.mode, d))
			got, err := os.ReadFile(path)
			must(t, err)
			info, err := os.Stat(path)
			must(t, err)
			if string(got) != c.content || info.Mode() != c.mode {
				t.Errorf("%q with mode %s, want %q with %s", got, info.Mode(), c.content, c.mode)
			}
		}
		wantNames(t, dir, "file")
	}
}

// TestReadersSeeNoPart of what several writers write at once.
func TestReadersSeeNoPart(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	must(t, WriteFile(path, bytes.Repeat([]byte("x"), 1<<16), 0o600, Volatile))
	var writers sync.WaitGroup
	for _, letter := range "abcd" {
		writers.Go(func() {
			for range 100 {
				if err := WriteFile(path, bytes.Repeat([]byte(string(letter)), 1<<16), 0o600, Volatile); err != nil {
					t.Error(err)
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { writers.Wait(); close(ended) }()
	for reading := true; reading; {
		select {
		case <-ended:
			reading = false
		default:
		}
		got, err := os.ReadFile(path)
		must(t, err)
		if len(got) != 1<<16 || bytes.Count(got, got[:1]) != len(got) {
			t.Fatal("a part of a file, or a mixture of two")
		}
	}
	wantNames(t, dir, "file")
}

// TestDiscard leaves nothing, also after a commit that failed, and keeps a committed file.
func TestDiscard(t *testing.T) {
	for _, d := range []Durability{Volatile, Durable} {
		dir := t.TempDir()
		f, err := Create(dir)
		must(t, err)
		if !strings.HasSuffix(f.Name(), Suffix) || filepath.Dir(f.Name()) != dir {
			t.Errorf("a file in the making is %s", f.Name())
		}
		must(t, f.Discard())
		wantNames(t, dir)

		f, err = Create(dir)
		must(t, err)
		if err := f.Commit(filepath.Join(dir, "no", "directory"), 0o600, d); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("committed to nowhere: %v", err)
		}
		must(t, f.Discard())
		wantNames(t, dir)

		f, err = Create(dir)
		must(t, err)
		must(t, f.Commit(filepath.Join(dir, "kept"), 0o600, d))
		must(t, f.Discard())
		wantNames(t, dir, "kept")
	}
}

// TestFailedWrite keeps what was there, and leaves nothing else.
func TestFailedWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	must(t, os.MkdirAll(filepath.Join(path, "full"), 0o700))
	if err := WriteFile(path, []byte("x"), 0o600, Durable); err == nil {
		t.Error("a file took the place of a directory")
	}
	wantNames(t, dir, "file")
}

// TestWriteNew lets one of many win, and leaves its content.
func TestWriteNew(t *testing.T) {
	for _, d := range []Durability{Volatile, Durable} {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		won := make(chan string, 8)
		var writers sync.WaitGroup
		for _, letter := range "abcdefgh" {
			writers.Go(func() {
				switch err := WriteNew(path, []byte(string(letter)), d); {
				case err == nil:
					won <- string(letter)
				case !errors.Is(err, fs.ErrExist):
					t.Error(err)
				}
			})
		}
		writers.Wait()
		close(won)
		got, err := os.ReadFile(path)
		must(t, err)
		if first := <-won; string(got) != first || len(won) != 0 {
			t.Errorf("%q is there, %q won, and %d others did", got, first, len(won))
		}
		wantNames(t, dir, "file")
	}
}

func TestRename(t *testing.T) {
	for _, d := range []Durability{Volatile, Durable} {
		dir := t.TempDir()
		must(t, os.MkdirAll(filepath.Join(dir, "draft", "inside"), 0o700))
		must(t, Rename(filepath.Join(dir, "draft"), filepath.Join(dir, "whole"), d))
		wantNames(t, dir, "whole")
		must(t, os.MkdirAll(filepath.Join(dir, "draft"), 0o700))
		if err := Rename(filepath.Join(dir, "draft"), filepath.Join(dir, "whole"), d); !errors.Is(err, fs.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY) {
			t.Errorf("over a full directory: %v", err)
		}
		wantNames(t, dir, "draft", "whole")
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the directory has %q, want %q", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
