// Package image makes and keeps root images: it installs the base template's packages from
// Debian, and writes the EROFS files that guests boot from, named by their content.
package image

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Node is a file of any kind. A node that is in several directories is a hard link.
type Node struct {
	Mode     uint32 // type and permissions as in stat(2)
	UID, GID uint32
	MTime    time.Time
	Target   string // of a symbolic link
	Device   uint64 // of a device node, as stat(2) encodes it
	// The content is Data, or Size bytes of the host file Path at Offset.
	Data   []byte
	Path   string
	Offset int64
	Size   int64

	children map[string]*Node // of a directory
	opaque   bool             // a directory that hides those of lower layers
}

// Tree is the future content of an image.
type Tree struct{ root *Node }

// epoch is the modification time of files that have no other. It is fixed, so that images
// of the same content are equal.
var epoch = time.Unix(1_700_000_000, 0)

// NewTree returns a tree with an empty root directory.
func NewTree() *Tree { return &Tree{root: NewDir(0o755)} }

// NewDir returns an empty directory that belongs to root.
func NewDir(perm uint32) *Node {
	return &Node{Mode: unix.S_IFDIR | perm, MTime: epoch, children: map[string]*Node{}}
}

// NewFile returns a regular file that belongs to root.
func NewFile(perm uint32, data []byte) *Node {
	return &Node{Mode: unix.S_IFREG | perm, MTime: epoch, Data: data, Size: int64(len(data))}
}

// NewLink returns a symbolic link.
func NewLink(target string) *Node {
	return &Node{Mode: unix.S_IFLNK | 0o777, MTime: epoch, Target: target}
}

// FromDir describes a host directory. It leaves out the names in skip, which are relative
// to dir, and everything below them.
func FromDir(dir string, skip ...string) (*Tree, error) {
	left := map[string]bool{}
	for _, s := range skip {
		left[s] = true
	}
	t := NewTree()
	links := map[[2]uint64]*Node{}
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		if left[name] {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		node, err := fromHost(file, links)
		if err != nil {
			return err
		}
		if name == "." {
			t.root = node
			return nil
		}
		parent, err := t.lookup(path.Dir(name))
		if err != nil {
			return err
		}
		parent.children[entry.Name()] = node
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", dir, err)
	}
	return t, nil
}

// fromHost describes one host file; links holds the files with several names.
func fromHost(file string, links map[[2]uint64]*Node) (*Node, error) {
	info, err := os.Lstat(file)
	if err != nil {
		return nil, err
	}
	st := info.Sys().(*syscall.Stat_t)
	id := [2]uint64{st.Dev, st.Ino}
	if n := links[id]; n != nil {
		return n, nil
	}
	n := &Node{Mode: st.Mode, UID: st.Uid, GID: st.Gid, MTime: info.ModTime()}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		n.children = map[string]*Node{}
	case unix.S_IFLNK:
		if n.Target, err = os.Readlink(file); err != nil {
			return nil, err
		}
	case unix.S_IFREG:
		n.Path, n.Size = file, info.Size()
	default:
		n.Device = st.Rdev
	}
	if st.Nlink > 1 && n.children == nil {
		links[id] = n
	}
	return n, nil
}

var errNotDir = errors.New("not a directory")

// lookup finds a node without following links.
func (t *Tree) lookup(name string) (*Node, error) {
	n := t.root
	for _, part := range split(name) {
		if n.children == nil {
			return nil, fmt.Errorf("%s: %w", name, errNotDir)
		}
		next := n.children[part]
		if next == nil {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		n = next
	}
	return n, nil
}

// Put sets the node at an absolute or relative name, creating missing parents. If both the
// old and the new node are directories, the old children stay.
func (t *Tree) Put(name string, node *Node) error {
	parts := split(name)
	if len(parts) == 0 {
		return fmt.Errorf("the root cannot be replaced")
	}
	for _, part := range parts {
		if len(part) > unix.NAME_MAX { // EROFS has no room for one that is longer than a block
			return fmt.Errorf("a name of %d bytes; the most is %d", len(part), unix.NAME_MAX)
		}
	}
	dir := t.root
	for _, part := range parts[:len(parts)-1] {
		next := dir.children[part]
		if next == nil {
			next = NewDir(0o755)
			dir.children[part] = next
		}
		if next.children == nil {
			return fmt.Errorf("%s: %w", name, errNotDir)
		}
		dir = next
	}
	last := parts[len(parts)-1]
	if old := dir.children[last]; old != nil && old.children != nil && node.children != nil &&
		len(node.children) == 0 {
		node.children = old.children
	}
	dir.children[last] = node
	return nil
}

// Remove deletes a name with everything below it. A missing name is no error.
func (t *Tree) Remove(name string) {
	parent, err := t.lookup(path.Dir(path.Clean("/" + name)))
	if err == nil && parent.children != nil {
		delete(parent.children, path.Base(name))
	}
}

// Keep removes what is in a directory, except the given names, which are relative to it, and
// the directories on the way to them. Without any of them the directory goes too.
func (t *Tree) Keep(dir string, names []string) {
	old, err := t.lookup(dir)
	if err != nil {
		return
	}
	kept := &Tree{root: old.emptied()}
	for _, name := range names {
		from, to := old, kept.root
		for _, part := range split(name) {
			next := from.children[part]
			if next == nil || next.isWhiteout() {
				break
			}
			if to.children[part] == nil {
				to.children[part] = next.emptied()
			}
			from, to = next, to.children[part]
		}
	}
	t.Remove(dir)
	if len(kept.root.children) > 0 {
		parent, _ := t.lookup(path.Dir(path.Clean("/" + dir))) // its child was found
		parent.children[path.Base(dir)] = kept.root
	}
}

// emptied returns a directory without its content, and any other node as it is.
func (n *Node) emptied() *Node {
	if n.children == nil {
		return n
	}
	other := *n
	other.children = map[string]*Node{}
	return &other
}

// Read returns the content of a regular file.
func (t *Tree) Read(name string) ([]byte, error) {
	n, err := t.lookup(name)
	if err != nil {
		return nil, err
	}
	var data bytes.Buffer
	err = copyContent(&data, n)
	return data.Bytes(), err
}

// Holds reports whether a name is a regular file with the given content.
func (t *Tree) Holds(name, content string) bool {
	n, err := t.lookup(name)
	if err != nil || n.Mode&unix.S_IFMT != unix.S_IFREG || n.Size != int64(len(content)) {
		return false
	}
	data, err := t.Read(name)
	return err == nil && string(data) == content
}

func split(name string) []string {
	clean := strings.Trim(path.Clean("/"+name), "/")
	if clean == "" {
		return nil
	}
	return strings.Split(clean, "/")
}

// names returns a directory's entries, sorted by their bytes.
func (n *Node) names() []string {
	list := make([]string, 0, len(n.children))
	for name := range n.children {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}
