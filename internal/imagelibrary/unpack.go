package imagelibrary

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"shoal/internal/image"
	"shoal/internal/registry"
)

// unpack merges an image's layers into one root image.
func (l *Library) unpack(ctx context.Context, img v1.Image) (Image, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return Image{}, err
	}
	flat := mutate.Extract(img)
	defer flat.Close()
	i, err := l.store(untilDone(ctx, flat))
	i.Env = environment(config.Config.Env)
	return i, err
}

// untilDone returns a reader that fails once ctx has ended.
func untilDone(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// store turns a tar of a root file system into a root image.
func (l *Library) store(flat io.Reader) (Image, error) {
	work, err := l.workspace()
	if err != nil {
		return Image{}, err
	}
	defer work.remove()
	f, err := os.Create(filepath.Join(work.dir, "root"))
	if err != nil {
		return Image{}, err
	}
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(flat, registry.MaxImage+1))
	if err != nil {
		return Image{}, err
	}
	if n > registry.MaxImage {
		return Image{}, registry.TooLarge()
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Image{}, err
	}
	tree, err := image.FromTar(f)
	if err != nil {
		return Image{}, err
	}
	for _, name := range []string{"dev", "proc", "sys", "run"} { // other file systems are mounted there
		tree.Remove(name)
	}
	tree.Share(image.SharedDir)
	var i Image
	i.Digest, i.Size, err = l.images.Put(tree)
	return i, err
}

// environment parses an image's environment variables (templates.md §3.2).
func environment(list []string) map[string]string {
	env := map[string]string{}
	for _, entry := range list {
		key, value, _ := strings.Cut(strings.TrimSpace(entry), "=")
		if key != "" {
			env[key] = value
		}
	}
	return env
}
