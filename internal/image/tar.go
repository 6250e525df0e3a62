package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// opaqueRecord marks, in a tar of an overlay's upper layer, a directory that hides the
// lower layers (the extended attribute of overlayfs in PAX form).
const opaqueRecord = "SCHILY.xattr.trusted.overlay.opaque"

// sparseRecords begin what PAX says of a file with holes (GNU formats 0.0 to 1.0).
const sparseRecords = "GNU.sparse."

// FromTar describes an uncompressed tar file. The contents of files stay in the tar, so it
// must not change before the tree has been written. Directories that the archive does not
// mention belong to root.
func FromTar(f *os.File) (*Tree, error) {
	t := NewTree()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the archive: %w", err)
		}
		if err := t.putEntry(f, h); err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func (t *Tree) putEntry(f *os.File, h *tar.Header) error {
	n := &Node{Mode: uint32(h.Mode) & 0o7777, UID: uint32(h.Uid), GID: uint32(h.Gid), MTime: h.ModTime}
	switch h.Typeflag {
	case tar.TypeDir:
		n.Mode |= unix.S_IFDIR
		n.children, n.opaque = map[string]*Node{}, h.PAXRecords[opaqueRecord] == "y"
		if len(split(h.Name)) == 0 {
			n.children = t.root.children
			t.root = n
			return nil
		}
	case tar.TypeReg:
		offset, err := f.Seek(0, io.SeekCurrent) // the reader is where the content begins
		if err != nil {
			return err
		}
		for record := range h.PAXRecords {
			if strings.HasPrefix(record, sparseRecords) {
				return errors.New("a sparse file, whose content is not in one piece")
			}
		}
		n.Mode |= unix.S_IFREG
		n.Path, n.Offset, n.Size = f.Name(), offset, h.Size
	case tar.TypeSymlink:
		n.Mode, n.Target = unix.S_IFLNK|0o777, h.Linkname
	case tar.TypeLink:
		to, err := t.lookup(h.Linkname)
		if err != nil {
			return fmt.Errorf("link to %s: %w", h.Linkname, err)
		}
		if to.children != nil { // it could be put into itself
			return fmt.Errorf("link to %s: a directory", h.Linkname)
		}
		n = to
	case tar.TypeChar, tar.TypeBlock:
		n.Mode |= unix.S_IFCHR
		if h.Typeflag == tar.TypeBlock {
			n.Mode = n.Mode&0o7777 | unix.S_IFBLK
		}
		n.Device = unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	case tar.TypeFifo:
		n.Mode |= unix.S_IFIFO
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return fmt.Errorf("an entry of type %q", h.Typeflag)
	}
	return t.Put(h.Name, n)
}

// newWhiteout returns a node that hides a name of the layers below.
func newWhiteout() *Node { return &Node{Mode: unix.S_IFCHR, MTime: epoch} }

func (n *Node) isWhiteout() bool { return n.Mode&unix.S_IFMT == unix.S_IFCHR && n.Device == 0 }

// Rest replaces opaque directories by what an image can express: a whiteout for every name
// that they hide in the images below, which are given lowest first.
func (t *Tree) Rest(below ...string) error {
	s, err := openStack(below)
	if err != nil {
		return err
	}
	defer s.close()
	return t.root.rest("", s)
}

func (n *Node) rest(name string, s stack) error {
	if n.opaque {
		if err := n.hide(name, s); err != nil {
			return err
		}
	}
	for _, kid := range n.names() {
		child := n.children[kid]
		if child.children == nil {
			continue
		}
		if err := child.rest(name+"/"+kid, s); err != nil {
			return err
		}
	}
	return nil
}

// hide adds whiteouts for what the images below have in a directory. Subdirectories that
// exist in both become opaque in turn.
func (n *Node) hide(name string, s stack) error {
	n.opaque = false
	below, err := s.list(name)
	if err != nil {
		return err
	}
	for kid, isDir := range below {
		child := n.children[kid]
		switch {
		case child == nil:
			n.children[kid] = newWhiteout()
		case child.children != nil && isDir:
			child.opaque = true
		}
	}
	return nil
}

// Empty reports whether the tree has nothing but its root.
func (t *Tree) Empty() bool { return len(t.root.children) == 0 }

// stack is several images on top of each other, lowest first.
type stack []*reader

func openStack(paths []string) (stack, error) {
	var s stack
	for _, path := range paths {
		r, err := openReader(path)
		if err != nil {
			s.close()
			return nil, err
		}
		s = append(s, r)
	}
	return s, nil
}

func (s stack) close() {
	for _, r := range s {
		r.close()
	}
}

// list returns the names in a directory of the stack, and whether each is a directory. It
// returns none for anything that is not a directory.
func (s stack) list(name string) (map[string]bool, error) {
	names := map[string]bool{}
	seen := map[string]bool{}
	for i := len(s) - 1; i >= 0; i-- {
		entries, ends, err := s[i].list(strings.Split(strings.Trim(name, "/"), "/"))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if seen[e.name] {
				continue
			}
			seen[e.name] = true
			if !e.whiteout {
				names[e.name] = e.kind == kindDir
			}
		}
		if ends { // this image hides those below
			return names, nil
		}
	}
	return names, nil
}
