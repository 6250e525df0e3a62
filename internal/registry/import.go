package registry

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Import enters a local image under a name: an OCI layout, as a directory or a tar,
// what `docker save` writes, or a tar of a root file system. What is wrong with the
// file is an *Error.
func (l *Library) Import(ctx context.Context, reference, file string, say func(string)) (Image, error) {
	ref, err := parse(reference)
	if err != nil {
		return Image{}, err
	}
	i, err := l.read(ctx, file, say)
	if err != nil {
		return Image{}, fmt.Errorf("import %s: %w", file, err)
	}
	i.Name, i.From, i.At = ref.Name(), file, time.Now().UTC()
	return i, l.put(ref, i)
}

func (l *Library) read(ctx context.Context, file string, say func(string)) (Image, error) {
	info, err := os.Stat(file)
	if err != nil {
		return Image{}, &Error{err.Error()}
	}
	if info.IsDir() {
		return l.readLayout(ctx, file, say)
	}
	f, closeAll, err := openTar(file)
	if err != nil {
		return Image{}, err
	}
	defer closeAll()
	kind, err := kindOf(f)
	if err != nil {
		return Image{}, &Error{fmt.Sprintf("%s is not a tar archive: %v", file, err)}
	}
	switch kind {
	case "manifest.json":
		img, err := tarball.Image(func() (io.ReadCloser, error) {
			r, closeAll, err := openTar(file)
			return readCloser{r, closeAll}, err
		}, nil)
		if err != nil {
			return Image{}, &Error{fmt.Sprintf("%s: %v", file, err)}
		}
		return l.unpack(ctx, img, say)
	case "oci-layout":
		dir, err := os.MkdirTemp(l.workspaceDir, "layout-")
		if err != nil {
			return Image{}, err
		}
		defer os.RemoveAll(dir)
		if err := extractFiles(file, dir); err != nil {
			return Image{}, err
		}
		return l.readLayout(ctx, dir, say)
	default:
		r, closeAll, err := openTar(file)
		if err != nil {
			return Image{}, err
		}
		defer closeAll()
		return l.store(r)
	}
}

func (l *Library) readLayout(ctx context.Context, dir string, say func(string)) (Image, error) {
	p, err := layout.FromPath(dir)
	if err != nil {
		return Image{}, &Error{fmt.Sprintf("%s is not an OCI layout: %v", dir, err)}
	}
	index, err := p.ImageIndex()
	if err != nil {
		return Image{}, err
	}
	img, err := pick(index)
	if err != nil {
		return Image{}, err
	}
	return l.unpack(ctx, img, say)
}

// pick finds the one image for this machine, in an index of indexes too.
func pick(index v1.ImageIndex) (v1.Image, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range m.Manifests {
		if d.Platform != nil && (d.Platform.OS != "linux" || d.Platform.Architecture != "amd64") {
			continue
		}
		if d.MediaType.IsIndex() {
			inner, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, err
			}
			return pick(inner)
		}
		if d.MediaType.IsImage() {
			return index.Image(d.Digest)
		}
	}
	return nil, &Error{"it has no image for linux/amd64"}
}

type readCloser struct {
	io.Reader
	close func()
}

func (r readCloser) Close() error { r.close(); return nil }

// openTar opens a tar that may be compressed by gzip.
func openTar(file string) (io.Reader, func(), error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, func() {}, err
	}
	r := bufio.NewReaderSize(f, 1<<16)
	magic, err := r.Peek(2)
	if err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(r)
		if err != nil {
			f.Close()
			return nil, func() {}, err
		}
		return z, func() { f.Close() }, nil
	}
	return r, func() { f.Close() }, nil
}

// kindOf tells by a file at an archive's top what it is; "" is a root file system.
func kindOf(r io.Reader) (string, error) {
	kind := ""
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return kind, nil
		}
		if err != nil {
			return "", err
		}
		switch name := path.Clean(h.Name); name {
		case "manifest.json": // newer archives of docker's are layouts as well
			return name, nil
		case "oci-layout":
			kind = name
		}
	}
}

// extractFiles unpacks the plain files of an archive, and nothing outside of dir.
func extractFiles(file, dir string) error {
	r, closeAll, err := openTar(file)
	if err != nil {
		return err
	}
	defer closeAll()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		f, err := root.Create(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, t)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
}
