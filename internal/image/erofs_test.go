package image

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/erofs"
)

// readBack opens an image with gVisor's reader and describes every path: mode, owner,
// links, and content, target or device.
func readBack(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	img, err := erofs.OpenImage(f)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	found := map[string]string{}
	var walk func(name string, nid uint64)
	walk = func(name string, nid uint64) {
		ino, err := img.Inode(nid)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found[name] = describe(t, &ino)
		if !ino.IsDir() {
			return
		}
		if err := ino.IterDirents(func(entry string, _ uint8, nid uint64) error {
			if entry == "." || entry == ".." {
				return nil
			}
			looked, err := ino.Lookup(entry)
			if err != nil || looked != nid {
				t.Errorf("%s/%s is listed, but looking it up gives %v %v", name, entry, looked, err)
			}
			walk(name+"/"+entry, nid)
			return nil
		}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	walk("", img.RootNid())
	return found
}

func describe(t *testing.T, ino *erofs.Inode) string {
	t.Helper()
	text := fmt.Sprintf("%o %d:%d links=%d mtime=%d", ino.Mode(), ino.UID(), ino.GID(), ino.Nlink(),
		ino.Mtime())
	switch {
	case ino.IsSymlink():
		target, err := ino.Readlink()
		if err != nil {
			t.Fatal(err)
		}
		text += " -> " + target
	case ino.IsRegular():
		if _, err := ino.DataOffset(); err != nil && ino.Size() > 0 {
			t.Fatalf("content is not mappable: %v", err)
		}
		ranges, err := ino.DataRanges()
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf(" size=%d %x", ino.Size(),
			bytes.Join([][]byte{ranges[0].Bytes, ranges[1].Bytes}, nil))
	}
	return text
}

func put(t *testing.T, tree *Tree, name string, n *Node) {
	t.Helper()
	if err := tree.Put(name, n); err != nil {
		t.Fatal(err)
	}
}

func store(t *testing.T, tree *Tree) string {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
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

// everyKind returns a tree with every kind of node, and with file sizes around the format's
// limits, and also the node that has two names.
func everyKind(t *testing.T) (tree *Tree, shared *Node) {
	t.Helper()
	tree = NewTree()
	for _, size := range []int{0, 1, blockSize - 1, blockSize, blockSize + 1, 3*blockSize + 7} {
		put(t, tree, fmt.Sprintf("sizes/%d", size),
			NewFile(0o640, bytes.Repeat([]byte{'x', byte(size)}, size)[:size]))
	}
	for _, length := range []int{1, 31, 32, 33, 200, 4000, blockSize - inodeSize, blockSize - 1} {
		put(t, tree, fmt.Sprintf("links/%d", length), NewLink(strings.Repeat("l", length)))
	}
	owned := NewFile(0o6755, []byte("suid"))
	owned.UID, owned.GID = 70000, 1000
	put(t, tree, "owned", owned)
	shared = NewFile(0o644, []byte("one file, two names"))
	put(t, tree, "hard/a", shared)
	put(t, tree, "hard/b", shared)
	put(t, tree, "dev/null", &Node{Mode: unix.S_IFCHR | 0o666, MTime: epoch, Device: unix.Mkdev(1, 3)})
	put(t, tree, "fifo", &Node{Mode: unix.S_IFIFO | 0o600, MTime: epoch})
	put(t, tree, strings.Repeat("d/", 40)+"deep", NewFile(0o644, []byte("deep")))
	put(t, tree, "names/"+strings.Repeat("n", 255), NewFile(0o644, nil))
	for n := range 3000 {
		put(t, tree, fmt.Sprintf("big/entry-%d", n*7919%3000), NewFile(0o600, []byte(fmt.Sprint(n))))
	}
	put(t, tree, "before-dots/!", NewFile(0o644, []byte("sorts before the dot")))
	put(t, tree, "dev/disk", &Node{Mode: unix.S_IFBLK | 0o660, MTime: epoch.Add(time.Hour),
		Device: unix.Mkdev(259, 70000)})
	put(t, tree, "empty", NewDir(0o1777))
	return tree, shared
}

// linkCount is the link count that stat(2) must report for a node of everyKind.
func linkCount(n, shared *Node) int {
	if n == shared {
		return 2
	}
	if n.children == nil {
		return 1
	}
	links := 2
	for _, k := range n.children {
		if k.children != nil {
			links++
		}
	}
	return links
}

// TestReadersAgree writes every kind of node and reads it with gVisor.
func TestReadersAgree(t *testing.T) {
	tree, shared := everyKind(t)
	got := readBack(t, store(t, tree))
	count := 0
	var check func(name string, n *Node)
	check = func(name string, n *Node) {
		count++
		nlink := linkCount(n, shared)
		want := fmt.Sprintf("%o %d:%d links=%d mtime=%d", n.Mode, n.UID, n.GID, nlink, n.MTime.Unix())
		switch n.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			want += " -> " + n.Target
		case unix.S_IFREG:
			want += fmt.Sprintf(" size=%d %x", n.Size, n.Data)
		}
		if got[name] != want {
			t.Errorf("%s:\n got  %.120s\n want %.120s", name, got[name], want)
		}
		for entry, k := range n.children {
			check(name+"/"+entry, k)
		}
	}
	check("", tree.root)
	if len(got) != count {
		t.Errorf("the image has %d paths, want %d", len(got), count)
	}
}

// TestEqualTreesEqualImages: the digest depends on the content, not on the time.
func TestEqualTreesEqualImages(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "a", "sub/c"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var paths []string
	for range 2 {
		tree, err := FromDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, filepath.Base(store(t, tree)))
	}
	if paths[0] != paths[1] {
		t.Errorf("two images of the same directory differ: %v", paths)
	}
}

func TestFromDirSkips(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "skip/this"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keep"), []byte("k"), 0o600); err != nil {
		t.Fatal(err)
	}
	tree, err := FromDir(dir, "skip")
	if err != nil {
		t.Fatal(err)
	}
	got := readBack(t, store(t, tree))
	if len(got) != 2 || got["/keep"] == "" {
		t.Errorf("got %v", got)
	}
}

// TestShrunkFile: no image may be made of a file that shrinks while it is written.
func TestShrunkFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("long enough"), 0o644); err != nil {
		t.Fatal(err)
	}
	tree := NewTree()
	put(t, tree, "f", &Node{Mode: unix.S_IFREG | 0o644, Path: path, Size: 100})
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Put(tree); err == nil {
		t.Error("an image was made of a file that had shrunk")
	}
	if list, _ := s.List(); len(list) != 0 {
		t.Errorf("left: %v", list)
	}
}

func TestTreeRefuses(t *testing.T) {
	tree := NewTree()
	put(t, tree, "file", NewFile(0o644, nil))
	if err := tree.Put("file/below", NewFile(0o644, nil)); err == nil {
		t.Error("a file has children")
	}
	if _, err := tree.Read("missing"); err == nil || !strings.Contains(err.Error(), fs.ErrNotExist.Error()) {
		t.Errorf("reading a missing file: %v", err)
	}
}
