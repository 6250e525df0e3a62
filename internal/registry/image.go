package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image is an image as its registry describes it. Its layers are not pulled yet.
type Image struct {
	client *Client
	text   string // the name as it was given
	ref    name.Reference
	remote v1.Image
	http   *http.Client // for the layers
	blobs  string       // URL of the repository's blobs
}

// Find asks an image's registry, or its mirror, for the description of the image for
// linux/amd64. text is the name as the user wrote it, for messages. The error is an
// *Unreachable if the registry does not answer.
func (c *Client) Find(ctx context.Context, ref name.Reference, text string, login *Login) (*Image, error) {
	i := &Image{client: c, text: text, ref: ref}
	if err := i.ask(ctx, login); err != nil {
		explained := explain(ctx, ref, text, err)
		if unreachable(ctx, err) {
			return nil, &Unreachable{explained}
		}
		return nil, explained
	}
	return i, nil
}

func (i *Image) ask(ctx context.Context, login *Login) error {
	auth, err := i.client.authenticator(ctx, login)
	if err != nil {
		return err
	}
	at, err := i.client.mirrored(i.ref)
	if err != nil {
		return err
	}
	repository := at.Context()
	again := transport.NewRetry(i.client.transport,
		transport.WithRetryBackoff(remote.Backoff{Duration: 500 * time.Millisecond, Factor: 3, Steps: 2}))
	way, err := transport.NewWithContext(ctx, repository.Registry, auth, again,
		[]string{repository.Scope(transport.PullScope)})
	if err != nil {
		return err
	}
	i.http = &http.Client{Transport: way}
	i.blobs = fmt.Sprintf("%s://%s/v2/%s/blobs/",
		repository.Scheme(), repository.RegistryStr(), repository.RepositoryStr())
	i.remote, err = remote.Image(at, remote.WithContext(ctx), remote.WithTransport(way),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"}))
	if err != nil {
		return err
	}
	// It is asked for with ctx, which ends before the layers are pulled, and kept.
	_, err = i.remote.ConfigFile()
	return err
}

// Pull downloads the layers that are missing here and then calls use with the complete
// image, which is valid until use returns. say is called with the pull's progress.
func (i *Image) Pull(ctx context.Context, say func(string), use func(v1.Image) error) error {
	layers, err := i.pull(ctx, say)
	if err != nil {
		return explain(ctx, i.ref, i.text, err)
	}
	return i.unpacked(ctx, use(pulledImage{i.remote, layers}))
}

// unpacked turns an error about an image's content into an *Error. It may quote the
// content, which has the digest that the image's description names.
func (i *Image) unpacked(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || errors.As(err, new(*Error)) || errors.As(err, new(*fs.PathError)) {
		return err
	}
	return &Error{Message: fmt.Sprintf("failed to unpack image '%s': %v", i.text, err)}
}

func (i *Image) pull(ctx context.Context, say func(string)) ([]v1.Layer, error) {
	manifest, err := i.remote.Manifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Layers) > maxLayers {
		return nil, &Error{Message: fmt.Sprintf("the image has %d layers, and %d is the most that a template can "+
			"be built from; build it with fewer instructions, or squash it", len(manifest.Layers), maxLayers)}
	}
	left := int64(MaxImage)
	for _, d := range manifest.Layers {
		if d.Size < 0 || d.Size > left {
			return nil, TooLarge()
		}
		left -= d.Size
	}
	var layers []v1.Layer
	for n, d := range manifest.Layers {
		want := blob{url: i.blobs + d.Digest.String(), digest: d.Digest.String(), size: d.Size,
			name: fmt.Sprintf("layer %d/%d", n+1, len(manifest.Layers))}
		file, err := i.client.layers.get(ctx, i.http, want, say)
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

var _ partial.CompressedLayer = fileLayer{}

func (l fileLayer) Digest() (v1.Hash, error)            { return l.Descriptor.Digest, nil }
func (l fileLayer) Size() (int64, error)                { return l.Descriptor.Size, nil }
func (l fileLayer) MediaType() (types.MediaType, error) { return l.Descriptor.MediaType, nil }
func (l fileLayer) Compressed() (io.ReadCloser, error)  { return os.Open(l.file) }

// pulledImage is an image whose layers are read from local files.
type pulledImage struct {
	v1.Image
	layers []v1.Layer
}

func (i pulledImage) Layers() ([]v1.Layer, error) { return i.layers, nil }
