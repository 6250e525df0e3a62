package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"shoal/internal/image"
)

// maxImage bounds an image's files, in bytes (templates.md §1.12).
const maxImage = 25_000 << 20

// Source is where the image of a name comes from: what was found before anything
// large is moved.
type Source struct {
	// StandIn is the content of the image that takes the place of one that cannot be
	// had. "" is the real one.
	StandIn string

	l         *Library
	reference string
	ref       name.Reference
	known     *Image   // imported, or the one that stands in
	remote    v1.Image // of a registry
	layers    *http.Client
	blobs     string // URL of the repository's blobs
}

// Find looks a name up: in the library, then at the image's registry. say hears of an
// image that stands in.
func (l *Library) Find(ctx context.Context, reference string, login *Login, say func(string)) (*Source, error) {
	ref, err := parse(reference)
	if err != nil {
		return nil, err
	}
	s := &Source{l: l, reference: reference, ref: ref}
	if i, err := l.find(ref); err == nil {
		s.known = &i
		return s, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	standIn, replaceable := l.standIns[path.Base(ref.Context().RepositoryStr())]
	if !replaceable || !l.away.lately(ref.Context().RegistryStr()) {
		if err = s.ask(ctx, login); err == nil {
			return s, nil
		}
		if !replaceable || !unreachable(ctx, err) {
			return nil, pullError(ref, reference, err)
		}
		l.away.note(ref.Context().RegistryStr())
	}
	say(fmt.Sprintf("The registry of %s cannot be reached; the image %s stands in for it. `shoal image import` provides the real one", reference, standIn.Name))
	s.known, s.StandIn = &standIn, standIn.Digest
	return s, nil
}

// Get returns the image as a root image; it moves what is missing.
func (s *Source) Get(ctx context.Context, say func(string)) (Image, error) {
	if s.known != nil {
		return *s.known, nil
	}
	layers, err := s.fetch(ctx, say)
	if err != nil {
		return Image{}, pullError(s.ref, s.reference, err)
	}
	i, err := s.l.unpack(ctx, layeredImage{s.remote, layers})
	if err != nil {
		return Image{}, pullError(s.ref, s.reference, err)
	}
	i.Name, i.From, i.At = s.ref.Name(), s.ref.Context().RegistryStr(), time.Now().UTC()
	return i, nil
}

// ask lets the registry, or its mirror, describe this machine's variant of the image.
func (s *Source) ask(ctx context.Context, login *Login) error {
	auth, err := s.l.authenticator(ctx, login)
	if err != nil {
		return err
	}
	at, err := s.l.mirrored(s.ref)
	if err != nil {
		return err
	}
	repository := at.Context()
	again := transport.NewRetry(s.l.transport, transport.WithRetryBackoff(remote.Backoff{Duration: 500 * time.Millisecond, Factor: 3, Steps: 2}))
	way, err := transport.NewWithContext(ctx, repository.Registry, auth, again, []string{repository.Scope(transport.PullScope)})
	if err != nil {
		return err
	}
	s.layers = &http.Client{Transport: way}
	s.blobs = fmt.Sprintf("%s://%s/v2/%s/blobs/", repository.Scheme(), repository.RegistryStr(), repository.RepositoryStr())
	s.remote, err = remote.Image(at, remote.WithContext(ctx), remote.WithTransport(way),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"}))
	return err
}

// mirrored is where to ask for an image.
func (l *Library) mirrored(ref name.Reference) (name.Reference, error) {
	registry := ref.Context().RegistryStr()
	for _, known := range []string{registry, strings.TrimPrefix(registry, "index.")} {
		mirror, ok := l.mirrors[known]
		if !ok {
			continue
		}
		separator := ":"
		if strings.HasPrefix(ref.Identifier(), "sha256:") {
			separator = "@"
		}
		at, err := name.ParseReference(mirror + "/" + ref.Context().RepositoryStr() + separator + ref.Identifier())
		if err != nil {
			return nil, fmt.Errorf("the mirror of %s: %w", registry, err)
		}
		return at, nil
	}
	return ref, nil
}

// fetch brings the layers here.
func (s *Source) fetch(ctx context.Context, say func(string)) ([]v1.Layer, error) {
	manifest, err := s.remote.Manifest()
	if err != nil {
		return nil, err
	}
	var total int64
	for _, d := range manifest.Layers {
		total += d.Size
	}
	if total > maxImage {
		return nil, tooLarge()
	}
	var layers []v1.Layer
	for n, d := range manifest.Layers {
		want := blob{url: s.blobs + d.Digest.String(), digest: d.Digest.String(), size: d.Size,
			name: fmt.Sprintf("layer %d/%d", n+1, len(manifest.Layers))}
		file, err := s.l.blobs.get(ctx, s.layers, want, say)
		if err != nil {
			return nil, err
		}
		layer, err := partial.CompressedToLayer(fileLayer{file, d})
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
		say(fmt.Sprintf("Layer %d/%d: %s MiB", n+1, len(manifest.Layers), mib(d.Size)))
	}
	return layers, nil
}

// fileLayer is a layer whose bytes are in a file.
type fileLayer struct {
	file string
	v1.Descriptor
}

func (l fileLayer) Digest() (v1.Hash, error)            { return l.Descriptor.Digest, nil }
func (l fileLayer) Size() (int64, error)                { return l.Descriptor.Size, nil }
func (l fileLayer) MediaType() (types.MediaType, error) { return l.Descriptor.MediaType, nil }
func (l fileLayer) Compressed() (io.ReadCloser, error)  { return os.Open(l.file) }

// layeredImage is an image with other ways to its layers.
type layeredImage struct {
	v1.Image
	layers []v1.Layer
}

func (i layeredImage) Layers() ([]v1.Layer, error) { return i.layers, nil }

// unpack turns an image's layers into one root image.
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

// untilDone reads until ctx ends.
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

// store writes a tar of a root file system as a root image.
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
	n, err := io.Copy(f, io.LimitReader(flat, maxImage+1))
	if err != nil {
		return Image{}, err
	}
	if n > maxImage {
		return Image{}, tooLarge()
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Image{}, err
	}
	tree, err := image.FromTar(f)
	if err != nil {
		return Image{}, err
	}
	for _, name := range []string{"dev", "proc", "sys", "run"} { // mounted over
		tree.Remove(name)
	}
	tree.Share(image.SharedDir)
	var i Image
	i.Digest, i.Size, err = l.images.Put(tree)
	return i, err
}

func tooLarge() error {
	return &Error{fmt.Sprintf("the image is larger than %d MB, which is the most that a template can be built from; take a smaller one, or remove from it what sandboxes do not need", maxImage>>20)}
}

// environment reads an image's variables (templates.md §3.2).
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

// unreachable reports whether there was no answer at all.
func unreachable(ctx context.Context, err error) bool {
	return ctx.Err() == nil && !errors.As(err, new(*transport.Error)) && !errors.As(err, new(*Error))
}

// pullError words what a registry has answered.
func pullError(ref name.Reference, reference string, err error) error {
	var known *Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return &Error{fmt.Sprintf("failed to pull image '%s': %v%s", reference, err, otherWays)}
	}
	for _, d := range answer.Errors {
		switch d.Code {
		case transport.NameUnknownErrorCode:
			return &Error{fmt.Sprintf("repository '%s' not found: verify the image name is correct", ref.Context().RepositoryStr())}
		case transport.ManifestUnknownErrorCode:
			return &Error{fmt.Sprintf("image '%s' not found: the image or tag does not exist in the registry", reference)}
		case transport.DeniedErrorCode:
			return &Error{fmt.Sprintf("access denied to '%s': you don't have permission to pull this image", reference)}
		}
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized:
		return &Error{fmt.Sprintf("access denied to '%s': authentication required or insufficient permissions", reference)}
	case http.StatusForbidden:
		return &Error{fmt.Sprintf("access denied to '%s': you don't have permission to pull this image", reference)}
	case http.StatusNotFound:
		return &Error{fmt.Sprintf("image '%s' not found: the image or tag does not exist in the registry", reference)}
	}
	return &Error{fmt.Sprintf("failed to pull image '%s': %v%s", reference, err, otherWays)}
}

// otherWays is what to do about a registry that does not do its part.
const otherWays = ". Try again; or let the operator provide the image by `shoal image import`, or another registry by --registry-mirrors"
