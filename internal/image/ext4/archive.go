package ext4

import (
	"archive/tar"
	"bytes"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// archive writes a tar whose files may have holes, which are holes of the tar's own file: archive/tar would
// write them as zeros.
type archive struct {
	to   *os.File
	at   int64 // where the next header begins
	file int64 // where the content of the last file begins

	headers, room int64 // bytes of headers so far, and the most
}

const (
	recordSize      = 512
	attributePrefix = "SCHILY.xattr."
	// Attributes of overlays would say something else of a layer.
	overlayPrefix = "trusted.overlay."
)

// header writes one, with room for a content after it.
func (a *archive) header(h *tar.Header, attributes map[string]string) error {
	h.Format = tar.FormatPAX // for nanoseconds
	for name, value := range attributes {
		if strings.Contains(name, "=") || strings.HasPrefix(name, overlayPrefix) { // the first cannot be said in a tar
			continue
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[attributePrefix+name] = value
	}
	var out bytes.Buffer
	if err := tar.NewWriter(&out).WriteHeader(h); err != nil { // the buffer takes all
		return damaged(h.Name, "%v", err)
	}
	if a.headers += int64(out.Len()); a.headers > a.room {
		return damaged(h.Name, "its names are longer than the disk")
	}
	if _, err := a.to.WriteAt(out.Bytes(), a.at); err != nil {
		return err
	}
	a.file = a.at + int64(out.Len())
	a.at = a.file + (h.Size+recordSize-1)/recordSize*recordSize
	return nil
}

// describe is what all headers have.
func describe(path string, n *inode, kind byte) *tar.Header {
	return &tar.Header{Name: path, Typeflag: kind, Mode: int64(n.mode() &^ unix.S_IFMT), Uid: int(n.uid()), Gid: int(n.gid()),
		ModTime: n.mtime()}
}

func (a *archive) directory(path string, n *inode, attributes map[string]string) error {
	return a.header(describe(path+"/", n, tar.TypeDir), attributes)
}

func (a *archive) regular(path string, n *inode, size int64, attributes map[string]string) error {
	h := describe(path, n, tar.TypeReg)
	h.Size = size
	return a.header(h, attributes)
}

// write writes a part of the last file's content.
func (a *archive) write(p []byte, at int64) error {
	_, err := a.to.WriteAt(p, a.file+at)
	return err
}

func (a *archive) symlink(path string, n *inode, target string, attributes map[string]string) error {
	h := describe(path, n, tar.TypeSymlink)
	h.Linkname = target
	return a.header(h, attributes)
}

func (a *archive) special(path string, n *inode, attributes map[string]string) error {
	h := describe(path, n, tar.TypeFifo)
	switch n.kind() {
	case unix.S_IFCHR:
		h.Typeflag = tar.TypeChar
	case unix.S_IFBLK:
		h.Typeflag = tar.TypeBlock
	}
	if h.Typeflag != tar.TypeFifo {
		major, minor := n.device()
		h.Devmajor, h.Devminor = int64(major), int64(minor)
	}
	return a.header(h, attributes)
}

func (a *archive) link(path, to string) error {
	return a.header(&tar.Header{Name: path, Typeflag: tar.TypeLink, Linkname: to}, nil)
}

func (a *archive) whiteout(path string) error {
	return a.header(&tar.Header{Name: path, Typeflag: tar.TypeChar, ModTime: time.Unix(0, 0)}, nil)
}

// end writes what a tar ends with: two records of zeros, which are a hole too.
func (a *archive) end() error { return a.to.Truncate(a.at + 2*recordSize) }
