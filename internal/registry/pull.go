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
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/cache"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"shoal/internal/image"
)

// maxImage bounds an image's files, in bytes (templates.md §1.12).
const maxImage = 25_000 << 20

// Login is what a registry asks for (templates.md §1.3).
type Login struct {
	Type string // "registry", "aws" or "gcp"

	Username, Password string

	AWSAccessKeyID, AWSSecretAccessKey, AWSRegion string

	ServiceAccountJSON string
}

func (l *Login) authenticator() (authn.Authenticator, error) {
	switch {
	case l == nil:
		return authn.Anonymous, nil
	case l.Type == "registry":
		return &authn.Basic{Username: l.Username, Password: l.Password}, nil
	case l.Type == "gcp":
		return &authn.Basic{Username: "_json_key", Password: l.ServiceAccountJSON}, nil
	default:
		return nil, &Error{fmt.Sprintf("this installation cannot log in to registries of type '%s'; give the user name and password of a registry instead (for ECR, AWS and the output of `aws ecr get-login-password`)", l.Type)}
	}
}

// Get returns the image of a name: an imported one, or what its registry has. say
// hears how it goes on.
func (l *Library) Get(ctx context.Context, reference string, login *Login, say func(string)) (Image, error) {
	ref, err := parse(reference)
	if err != nil {
		return Image{}, err
	}
	if i, err := l.find(ref); err == nil {
		return i, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Image{}, err
	}
	auth, err := login.authenticator()
	if err != nil {
		return Image{}, err
	}
	img, err := l.remote(ctx, ref, auth)
	if err != nil {
		if i, ok := l.standIns[path.Base(ref.Context().RepositoryStr())]; ok && unreachable(err) {
			say(fmt.Sprintf("The registry of %s cannot be reached; the image %s stands in for it. `shoal image import` provides the real one", reference, i.Name))
			return i, nil
		}
		return Image{}, pullError(ref, reference, err)
	}
	i, err := l.unpack(ctx, cache.Image(img, cache.NewFilesystemCache(l.blobs)), say)
	if err != nil {
		return Image{}, pullError(ref, reference, err)
	}
	i.Name, i.From, i.At = ref.Name(), ref.Context().RegistryStr(), time.Now().UTC()
	return i, nil
}

// remote asks a registry, or its mirror, for this machine's variant of an image.
func (l *Library) remote(ctx context.Context, ref name.Reference, auth authn.Authenticator) (v1.Image, error) {
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
		var err error
		if ref, err = name.ParseReference(mirror + "/" + ref.Context().RepositoryStr() + separator + ref.Identifier()); err != nil {
			return nil, fmt.Errorf("the mirror of %s: %w", registry, err)
		}
		break
	}
	again := remote.Backoff{Duration: 500 * time.Millisecond, Factor: 3, Steps: 2}
	return remote.Image(ref, remote.WithContext(ctx), remote.WithAuth(auth), remote.WithRetryBackoff(again),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"}))
}

// unpack turns an image's layers into one root image.
func (l *Library) unpack(ctx context.Context, img v1.Image, say func(string)) (Image, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return Image{}, err
	}
	layers, err := img.Layers()
	if err != nil {
		return Image{}, err
	}
	for n, layer := range layers {
		if err := fetch(ctx, layer, fmt.Sprintf("%d/%d", n+1, len(layers)), say); err != nil {
			return Image{}, err
		}
	}
	flat := mutate.Extract(img)
	defer flat.Close()
	i, err := l.store(flat)
	i.Env = environment(config.Config.Env)
	return i, err
}

// fetch reads a layer once, so that it is checked and in the cache.
func fetch(ctx context.Context, layer v1.Layer, which string, say func(string)) error {
	size, err := layer.Size()
	if err != nil {
		return err
	}
	r, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	})); err != nil {
		return err
	}
	say(fmt.Sprintf("Layer %s: %.1f MiB", which, float64(size)/(1<<20)))
	return nil
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// store writes a tar of a root file system as a root image.
func (l *Library) store(flat io.Reader) (Image, error) {
	f, err := os.CreateTemp(l.workspaceDir, "root-")
	if err != nil {
		return Image{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(flat, maxImage+1))
	if err != nil {
		return Image{}, err
	}
	if n > maxImage {
		return Image{}, &Error{fmt.Sprintf("the image is larger than %d MB", maxImage>>20)}
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
	var i Image
	i.Digest, i.Size, err = l.images.Put(tree)
	return i, err
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
func unreachable(err error) bool {
	return !errors.As(err, new(*transport.Error))
}

// pullError words what a registry has answered.
func pullError(ref name.Reference, reference string, err error) error {
	var known *Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return &Error{fmt.Sprintf("failed to pull image '%s': %v", reference, err)}
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
	return &Error{fmt.Sprintf("failed to pull image '%s': %v", reference, err)}
}
