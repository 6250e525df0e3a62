package imagelibrary

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

	"shoal/internal/registry"
)

// Import adds a local image under a name. The file is an OCI layout (a directory or tar),
// the output of `docker save`, or a tar of a root file system. If something is wrong with
// the file, the error is an *Error.
func (l *Library) Import(ctx context.Context, reference, file string, say func(string)) (Image, error) {
	ref, err := registry.ParseName(reference)
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
		return Image{}, &Error{Message: err.Error()}
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
		return Image{}, &Error{Message: fmt.Sprintf("%s is not a tar archive: %v", file, err)}
	}
	switch kind {
	case "manifest.json":
		img, err := tarball.Image(func() (io.ReadCloser, error) {
			r, closeAll, err := openTar(file)
			return readCloser{r, closeAll}, err
		}, nil)
		if err != nil {
			return Image{}, &Error{Message: fmt.Sprintf("%s: %v", file, err)}
		}
		return l.unpackLocal(ctx, img, say)
	case "oci-layout":
		work, err := l.workspace()
		if err != nil {
			return Image{}, err
		}
		defer work.remove()
		if err := extractFiles(file, work.dir); err != nil {
			return Image{}, err
		}
		return l.readLayout(ctx, work.dir, say)
	default:
		r, closeAll, err := openTar(file)
		if err != nil {
			return Image{}, err
		}
		defer closeAll()
		return l.store(untilDone(ctx, r))
	}
}

func (l *Library) readLayout(ctx context.Context, dir string, say func(string)) (Image, error) {
	p, err := layout.FromPath(dir)
	if err != nil {
		return Image{}, &Error{Message: fmt.Sprintf("%s is not an OCI layout: %v", dir, err)}
	}
	index, err := p.ImageIndex()
	if err != nil {
		return Image{}, err
	}
	img, err := pick(index)
	if err != nil {
		return Image{}, err
	}
	return l.unpackLocal(ctx, img, say)
}

// unpackLocal verifies the layers of a local image and unpacks it.
func (l *Library) unpackLocal(ctx context.Context, img v1.Image, say func(string)) (Image, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return Image{}, err
	}
	layers, err := img.Layers()
	if err != nil {
		return Image{}, err
	}
	for n, layer := range layers {
		err := checkLayer(ctx, layer, config.RootFS.DiffIDs, n)
		if ctx.Err() != nil {
			return Image{}, ctx.Err()
		}
		if err != nil {
			return Image{}, &Error{Message: fmt.Sprintf("layer %d of %d is damaged: %v; export the image again",
				n+1, len(layers), err)}
		}
		say(fmt.Sprintf("Layer %d/%d is whole", n+1, len(layers)))
	}
	return l.unpack(ctx, img)
}

// checkLayer compares a layer's digest with the one in the image's configuration.
func checkLayer(ctx context.Context, layer v1.Layer, want []v1.Hash, n int) error {
	if n >= len(want) {
		return errors.New("the image does not say what it holds")
	}
	r, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	got, _, err := v1.SHA256(untilDone(ctx, r))
	if err == nil && got != want[n] {
		err = fmt.Errorf("it has the digest %s, not %s", got, want[n])
	}
	return err
}

// pick finds the image for linux/amd64 in an index, which may contain indexes.
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
	return nil, &Error{Message: "it has no image for linux/amd64; build it with --platform linux/amd64"}
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

// kindOf recognizes the kind of an archive by a file at its top level, and returns that
// file's name; "" is a root file system.
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
		case "manifest.json": // recent docker versions write archives that are OCI layouts too
			return name, nil
		case "oci-layout":
			kind = name
		}
	}
}

// extractFiles unpacks the regular files of an archive into dir, and nothing outside it.
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
