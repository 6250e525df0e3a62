package image

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzFromTar holds what is read of an archive to be a tree, whose files have the contents
// that the archive has.
func FuzzFromTar(f *testing.F) {
	for _, entries := range [][]tar.Header{
		{dir("./"), dir("a/"), file("a/f", "content"), {Typeflag: tar.TypeLink, Name: "hard", Linkname: "a/f"}, whiteout("gone")},
		{opaqueDir("d/"), file("d/f", "1"), file("d/f", "2"), {Typeflag: tar.TypeSymlink, Name: "d/soft", Linkname: "../.."}},
		{dir("d/"), {Typeflag: tar.TypeLink, Name: "d/loop", Linkname: "d"}},
		{{Typeflag: tar.TypeLink, Name: "loop", Linkname: "."}},
		{file("../../f", "x"), {Typeflag: tar.TypeFifo, Name: "p"}, {Typeflag: tar.TypeBlock, Name: "b", Devmajor: 8, Devminor: 1}},
		{file("f", "x"), file("f/below", "y")},
		{file(strings.Repeat("n", 5000), "x")},
	} {
		var data bytes.Buffer
		if _, err := io.Copy(&data, archive(f, entries...)); err != nil {
			f.Fatal(err)
		}
		f.Add(data.Bytes())
	}
	f.Add(sparseArchive())
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "archive")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		tree, err := FromTar(in)
		if err != nil {
			return
		}
		contents := contentsOf(t, data)
		seen := map[*Node]bool{}
		var walk func(name string, n *Node)
		walk = func(name string, n *Node) {
			if n.children == nil {
				if n.Path != "" && !contents[string(read(t, n))] {
					t.Errorf("%s has a content that is not in the archive", name)
				}
				return
			}
			if seen[n] {
				t.Fatalf("directory %s has two names", name)
			}
			seen[n] = true
			for kid := range maps.Keys(n.children) {
				if kid == "" || kid == "." || kid == ".." || filepath.Base(kid) != kid {
					t.Errorf("%q is no name of a file", kid)
				}
				walk(name+"/"+kid, n.children[kid])
			}
		}
		walk("", tree.root)
		if _, _, err := writeErofs(io.Discard, tree); err != nil {
			t.Errorf("an archive that was accepted makes no image: %v", err)
		}
	})
}

// contentsOf lists the contents of an archive's files as its own reader gives them.
func contentsOf(t *testing.T, data []byte) map[string]bool {
	t.Helper()
	contents := map[string]bool{}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		if _, err := r.Next(); err == io.EOF {
			return contents
		} else if err != nil {
			t.Fatalf("accepted, but the archive is broken: %v", err)
		}
		content, err := io.ReadAll(io.LimitReader(r, 1<<20))
		if err != nil {
			t.Fatalf("accepted, but a content is broken: %v", err)
		}
		contents[string(content)] = true
	}
}

func read(t *testing.T, n *Node) []byte {
	t.Helper()
	var content bytes.Buffer
	if err := copyContent(&content, n); err != nil {
		t.Fatalf("a file's content is not where it was found: %v", err)
	}
	return content.Bytes()
}

// sparseArchive has one file in the GNU format's version 1.0, as tar --sparse writes it: a
// map of what is not a hole, then that.
func sparseArchive() []byte {
	var out bytes.Buffer
	block := func(name string, kind byte, content string) {
		head := make([]byte, 512)
		copy(head, name)
		copy(head[100:], "0000644\x000000000\x000000000\x00")
		copy(head[124:], []byte(octal(len(content))+"\x0000000000000\x00        "))
		head[156] = kind
		copy(head[257:], "ustar\x0000")
		sum := 0
		for _, b := range head {
			sum += int(b)
		}
		copy(head[148:], octal(sum)[5:]+"\x00 ")
		out.Write(head)
		out.WriteString(content)
		out.Write(make([]byte, (512-len(content)%512)%512))
	}
	block("PaxHeaders/f", tar.TypeXHeader,
		"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n21 GNU.sparse.name=f\n31 GNU.sparse.realsize=1000000\n")
	data := make([]byte, 512)
	copy(data, "1\n4096\n512\n")
	block("GNUSparseFile.0/f", tar.TypeReg, string(data)+string(bytes.Repeat([]byte("x"), 512)))
	out.Write(make([]byte, 1024))
	return out.Bytes()
}

// octal writes a number with eleven digits.
func octal(n int) string {
	digits := []byte("00000000000")
	for i := len(digits) - 1; n > 0; i-- {
		digits[i] = '0' + byte(n%8)
		n /= 8
	}
	return string(digits)
}
