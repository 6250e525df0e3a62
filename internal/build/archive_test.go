package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"strings"
	"testing"
)

// TestCheck: only archives from which a step cannot get its files are forgotten.
func TestCheck(t *testing.T) {
	files := openFiles(t)
	plain := archiveOf(t, "./", "dir/a.txt", "b.txt")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(plain)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		content, source string
		want            bool
	}{
		"a plain archive":     {plain, "b.txt", true},
		"a packed archive":    {packed.String(), "dir/a.txt", true},
		"a directory":         {plain, "dir", true},
		"anything":            {plain, "", true},
		"another file":        {plain, "c.txt", false},
		"the start of a name": {plain, "b", false},
		"no archive":          {"not a tar at all", "", false},
		"nothing":             {"", "", false},
		"half a file":         {plain[:1028], "", false},
		"half a packed file":  {packed.String()[:packed.Len()-4], "", false},
		"damage":              {plain[:600] + strings.Repeat("x", len(plain)-600), "", false},
	} {
		if err := files.Put(scope, someHash, strings.NewReader(c.content)); err != nil {
			t.Fatal(err)
		}
		if good, err := files.Check(t.Context(), scope, someHash, c.source); good != c.want || err != nil {
			t.Errorf("%s: %v %v", what, good, err)
		}
		if has, err := files.Has(scope, someHash); has != c.want || err != nil {
			t.Errorf("%s: there afterwards: %v %v", what, has, err)
		}
	}
	if good, err := files.Check(t.Context(), scope, strings.Repeat("cd", 32), ""); good || err != nil {
		t.Errorf("a missing archive: %v %v", good, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := files.Put(scope, someHash, strings.NewReader("no tar")); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Check(ended, scope, someHash, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if has, _ := files.Has(scope, someHash); !has {
		t.Error("an archive that was not checked was forgotten")
	}
}

// TestForgetTheOpened: an archive that was uploaded in the meantime stays.
func TestForgetTheOpened(t *testing.T) {
	files := openFiles(t)
	if err := files.Put(scope, someHash, strings.NewReader("bad")); err != nil {
		t.Fatal(err)
	}
	bad, err := files.Open(scope, someHash)
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	if err := files.Put(scope, someHash, strings.NewReader("good")); err != nil {
		t.Fatal(err)
	}
	if err := files.forget(scope, someHash, bad); err != nil {
		t.Fatal(err)
	}
	if got := readFiles(t, files); got != "good" {
		t.Errorf("%q", got)
	}
}

func archiveOf(t *testing.T, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		h := &tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeDir}
		if !strings.HasSuffix(name, "/") {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(name))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
