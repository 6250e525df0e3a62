package ext4

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// deepest bounds directories in one another, as it is bounded in images.
const deepest = 512

// lostAndFound is the directory that every file system has in its root for what a repair finds. Images do
// not have it.
const lostAndFound = "lost+found"

// HolesError is a disk whose files would be longer than the disk, were it not for their holes. Where they
// are copied to, holes may take room.
type HolesError struct {
	Path string // the file with which it is too much
	Size int64  // of the disk, in bytes
}

func (e *HolesError) Error() string {
	return fmt.Sprintf("%s: what was changed is longer than %d bytes, which the disk has: files with holes", e.Path, e.Size)
}

// Changes writes to an empty file what is on a disk and not on the base that it began as, as a tar that is a
// layer on the base: directories on the way to something that changed, all of what is new or has changed,
// hard links, and whiteouts (devices 0:0) for names that are gone. Modification times have nanoseconds;
// extended attributes are records SCHILY.xattr, except those of overlays. Holes of files are holes of the
// tar.
//
// Left out is what a tar or a layer cannot have: sockets, and devices 0:0, which would be whiteouts.
func Changes(ctx context.Context, to *os.File, base, disk *FS) error {
	c := comparison{ctx: ctx, base: base, disk: disk, out: &archive{to: to, room: disk.Size()}, visited: map[uint32]bool{},
		linked: map[uint32]string{}}
	was, err := base.inode(rootInode)
	if err != nil {
		return err
	}
	is, err := disk.inode(rootInode)
	if err != nil {
		return err
	}
	if !was.isDir() || !is.isDir() {
		return damaged("the root", "it is no directory")
	}
	if err := c.directory(place{path: "."}, was, is); err != nil {
		return err
	}
	return c.out.end()
}

type comparison struct {
	ctx        context.Context
	base, disk *FS
	out        *archive
	above      []pending         // directories from the root to where the comparison is
	visited    map[uint32]bool   // directories
	linked     map[uint32]string // files with several names, with the first one
	length     int64             // of the files so far
}

// pending is a directory that is written before the first thing in it.
type pending struct {
	path    string
	inode   *inode
	written bool
}

type place struct {
	path  string
	depth int
}

func (p place) in(name string) place { return place{p.path + "/" + name, p.depth + 1} }

// directory compares a directory of the disk with what is at its place in the base, nil for no directory.
func (c *comparison) directory(at place, was, is *inode) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if at.depth > deepest {
		return damaged(at.path, "directories are deeper than %d", deepest)
	}
	if c.visited[is.number] {
		return damaged(at.path, "a directory with two names")
	}
	c.visited[is.number] = true
	c.above = append(c.above, pending{path: at.path, inode: is})
	defer func() { c.above = c.above[:len(c.above)-1] }()
	if was == nil || !is.same(was) {
		if err := c.reach(); err != nil {
			return err
		}
	}
	names, err := c.disk.entries(is)
	if err != nil {
		return fmt.Errorf("%s: %w", at.path, err)
	}
	var before []entry
	if was != nil {
		if before, err = c.base.entries(was); err != nil {
			return fmt.Errorf("%s of the base: %w", at.path, err)
		}
	}
	for len(names) > 0 || len(before) > 0 {
		switch {
		case len(names) == 0 || len(before) > 0 && before[0].name < names[0].name:
			err = c.gone(at.in(before[0].name))
			before = before[1:]
		case len(before) == 0 || names[0].name < before[0].name:
			err = c.entry(at.in(names[0].name), 0, names[0].inode)
			names = names[1:]
		default:
			err = c.entry(at.in(names[0].name), before[0].inode, names[0].inode)
			names, before = names[1:], before[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// entry compares what a name leads to; before is the inode that it led to, 0 for none.
func (c *comparison) entry(at place, before, now uint32) error {
	is, err := c.disk.inode(now)
	if err != nil {
		return fmt.Errorf("%s: %w", at.path, err)
	}
	var was *inode
	if before != 0 {
		if was, err = c.base.inode(before); err != nil {
			return fmt.Errorf("%s of the base: %w", at.path, err)
		}
	}
	switch {
	case is.isDir():
		if was != nil && !was.isDir() {
			was = nil
		}
		return c.directory(at, was, is)
	case was != nil && is.same(was):
		return nil
	case !is.fitsLayer():
		if was != nil {
			return c.gone(at)
		}
		return nil
	}
	if err := c.reach(); err != nil {
		return err
	}
	if err := c.file(at.path, is); err != nil {
		return fmt.Errorf("%s: %w", at.path, err)
	}
	return nil
}

// fitsLayer reports whether a file that is no directory can be in a layer.
func (n *inode) fitsLayer() bool {
	if n.kind() == unix.S_IFCHR {
		major, minor := n.device()
		return major != 0 || minor != 0
	}
	return n.kind() != unix.S_IFSOCK
}

// gone writes a whiteout.
func (c *comparison) gone(at place) error {
	if at.path == "./"+lostAndFound {
		return nil
	}
	if err := c.reach(); err != nil {
		return err
	}
	return c.out.whiteout(at.path)
}

// reach writes the directories on the way that are not written yet.
func (c *comparison) reach() error {
	for k := range c.above {
		d := &c.above[k]
		if d.written {
			continue
		}
		attributes, err := c.disk.attributes(d.inode)
		if err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		if err := c.out.directory(d.path, d.inode, attributes); err != nil {
			return err
		}
		d.written = true
	}
	return nil
}

// file writes what is no directory.
func (c *comparison) file(path string, n *inode) error {
	if first, ok := c.linked[n.number]; ok {
		return c.out.link(path, first)
	}
	if n.links() > 1 {
		c.linked[n.number] = path
	}
	attributes, err := c.disk.attributes(n)
	if err != nil {
		return err
	}
	switch n.kind() {
	case unix.S_IFREG:
		return c.regular(path, n, attributes)
	case unix.S_IFLNK:
		target, err := c.disk.target(n)
		if err != nil {
			return err
		}
		return c.out.symlink(path, n, target, attributes)
	case unix.S_IFCHR, unix.S_IFBLK, unix.S_IFIFO:
		return c.out.special(path, n, attributes)
	}
	return damaged(n.String(), "a file of mode %#o", n.mode())
}

func (c *comparison) regular(path string, n *inode, attributes map[string]string) error {
	size := n.size()
	if size > uint64(c.disk.Size()-c.length) {
		return &HolesError{Path: path, Size: c.disk.Size()}
	}
	c.length += int64(size)
	if err := c.out.regular(path, n, int64(size), attributes); err != nil {
		return err
	}
	return c.disk.content(n, func(p []byte, at int64) error {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		return c.out.write(p, at)
	})
}
