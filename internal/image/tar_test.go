package image

import (
	"archive/tar"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// archive writes a tar file of the given entries.
func archive(t testing.TB, entries ...tar.Header) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "archive.tar"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	w := tar.NewWriter(f)
	for _, h := range entries {
		content := h.Uname // Uname carries the content of a file
		h.Uname = ""
		h.Size = int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	return f
}

func dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755} }

func opaqueDir(name string) tar.Header {
	h := dir(name)
	h.PAXRecords = map[string]string{opaqueRecord: "y"}
	return h
}

func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o640, Uid: 7, Gid: 8, Uname: content}
}

func whiteout(name string) tar.Header { return tar.Header{Typeflag: tar.TypeChar, Name: name} }

// layer writes an archive as an image on top of others.
func layer(t *testing.T, s *Store, below []string, entries ...tar.Header) string {
	t.Helper()
	tree, err := FromTar(archive(t, entries...))
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Rest(below...); err != nil {
		t.Fatal(err)
	}
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

func TestFromTar(t *testing.T) {
	tree, err := FromTar(archive(t, dir("./"), dir("./a/"), file("./a/f", "content"), file("no/parent", "x"),
		tar.Header{Typeflag: tar.TypeLink, Name: "./a/hard", Linkname: "./a/f"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "./a/soft", Linkname: "f"}, whiteout("./gone")))
	if err != nil {
		t.Fatal(err)
	}
	f, err := tree.lookup("a/f")
	if err != nil || f.UID != 7 || f.GID != 8 || f.Mode != unix.S_IFREG|0o640 {
		t.Errorf("%+v %v", f, err)
	}
	if data, err := tree.Read("a/hard"); string(data) != "content" || err != nil {
		t.Errorf("%q %v", data, err)
	}
	if hard, _ := tree.lookup("a/hard"); hard != f {
		t.Error("a hard link is a file of its own")
	}
	if gone, err := tree.lookup("gone"); err != nil || !gone.isWhiteout() {
		t.Errorf("%+v %v", gone, err)
	}
	if data, err := tree.Read("no/parent"); string(data) != "x" || err != nil {
		t.Errorf("%q %v", data, err)
	}
}

// TestOpaqueDirectories: each name that an opaque directory hides gets a whiteout.
func TestOpaqueDirectories(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	base := layer(t, s, nil, dir("d/"), file("d/old", ""), file("d/both", ""), dir("d/sub/"),
		file("d/sub/deep", ""), file("d/plain", ""), dir("kept/"), file("kept/f", ""))
	middle := layer(t, s, []string{base}, dir("d/"), whiteout("d/plain"), file("d/middle", ""))
	top := layer(t, s, []string{base, middle}, opaqueDir("d/"), file("d/both", "new"), opaqueDir("d/sub/"),
		file("d/sub/new", ""), opaqueDir("fresh/"), file("fresh/f", ""))
	for name, want := range map[string][]string{"": {"d", "fresh", "kept"}, "d": {"both", "sub"},
		"d/sub": {"new"}, "fresh": {"f"}, "kept": {"f"}, "kept/f": nil, "nowhere": nil} {
		all, err := openStack([]string{base, middle, top})
		if err != nil {
			t.Fatal(err)
		}
		names, err := all.list(name)
		all.close()
		if got := slices.Sorted(maps.Keys(names)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q (%v)", name, got, want, err)
		}
	}
}

// TestShare gives rights to files and directories below one, and to nothing else.
func TestShare(t *testing.T) {
	tree := NewTree()
	file, link, outside := NewFile(0o4644, nil), NewLink("x"), NewFile(0o600, nil)
	for name, n := range map[string]*Node{"usr/local/lib/file": file, "usr/local/link": link,
		"usr/file": outside} {
		if err := tree.Put(name, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.Put("usr/local/gone", newWhiteout()); err != nil {
		t.Fatal(err)
	}
	tree.Share(SharedDir)
	tree.Share("not/there")
	dir, err := tree.lookup("usr/local/lib")
	if err != nil {
		t.Fatal(err)
	}
	gone, err := tree.lookup("usr/local/gone")
	if err != nil {
		t.Fatal(err)
	}
	if file.Mode != unix.S_IFREG|0o777 || dir.Mode != unix.S_IFDIR|0o777 || link.Mode != unix.S_IFLNK|0o777 ||
		outside.Mode != unix.S_IFREG|0o600 || !gone.isWhiteout() || gone.Mode != unix.S_IFCHR {
		t.Errorf("file %o, directory %o, link %o, outside %o, whiteout %o", file.Mode, dir.Mode, link.Mode,
			outside.Mode, gone.Mode)
	}
}

// TestPutKeepsYoung: an image that is made again counts as new, so that it is not
// collected before its user is known.
func TestPutKeepsYoung(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	digest, _, err := s.Put(NewTree())
	if err != nil {
		t.Fatal(err)
	}
	path, err := s.Path(digest)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	if again, _, err := s.Put(NewTree()); err != nil || again != digest {
		t.Fatalf("%s %v", again, err)
	}
	if info, err := os.Stat(path); err != nil || time.Since(info.ModTime()) > time.Minute {
		t.Errorf("%v %v", info, err)
	}
}

// TestKeep: of a directory only what is named stays, without what is in it.
func TestKeep(t *testing.T) {
	owned := dir("run/db")
	owned.Uid, owned.Mode = 7, 0o2775
	entries := []tar.Header{dir("run"), owned, file("run/db/server.pid", "12"), dir("run/a"), dir("run/a/b"),
		file("run/a/x", ""), file("run/utmp", ""), whiteout("run/gone"), file("etc/f", "x")}
	tree, err := FromTar(archive(t, entries...))
	if err != nil {
		t.Fatal(err)
	}
	tree.Keep("run", []string{"db", "a/b", "utmp", "gone", "never/there", "../etc/f", "a/x/y"})
	for _, name := range []string{"run/db", "run/a/b", "run/utmp", "etc/f"} {
		if _, err := tree.lookup(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"run/db/server.pid", "run/gone", "run/never", "run/etc"} {
		if _, err := tree.lookup(name); err == nil {
			t.Errorf("%s stays", name)
		}
	}
	if n, _ := tree.lookup("run/db"); n.UID != 7 || n.Mode&0o7777 != 0o2775 {
		t.Errorf("the directory is %+v", n)
	}
	tree.Keep("run", nil)
	if _, err := tree.lookup("run"); err == nil {
		t.Error("an empty directory stays")
	}
	if !tree.Holds("etc/f", "x") || tree.Holds("etc/f", "y") || tree.Holds("etc", "") || tree.Holds("none", "") {
		t.Error("what a file holds is not known")
	}
}
