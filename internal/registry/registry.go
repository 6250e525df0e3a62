// Package registry is a client for container registries. It finds images by name and pulls
// their layers into a local store.
package registry

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"shoal/internal/outbound"
)

// MaxImage bounds an image's files, in bytes (templates.md §1.12).
const MaxImage = 25_000 << 20

// maxLayers bounds the layers of an image. Docker makes no image of more than 127.
const maxLayers = 512

// Config says how registries are reached, and where their layers are kept.
type Config struct {
	// Dir is the directory of the layers. It holds nothing else.
	Dir string
	// Mirrors maps a registry's name, such as "docker.io", to the mirror to use instead.
	Mirrors map[string]string
	// CAFiles are PEM files of certificate authorities to trust, in addition to the
	// system's.
	CAFiles []string
	// ECR is the URL to use for logins of type "aws"; AWS's own if empty.
	ECR string
	// Outbound says which registries may be reached, and how. Mirrors may be in any case.
	Outbound outbound.Config
}

// Client finds and pulls images. It is safe for concurrent use. Only one process may pull
// into a directory.
type Client struct {
	layers    *layerStore
	mirrors   map[string]string
	ecr       string
	transport *outbound.Transport
}

// NewClient returns a client. It creates the directory if it is missing.
func NewClient(cfg Config) (*Client, error) {
	c := &Client{mirrors: cfg.Mirrors, ecr: cfg.ECR}
	var err error
	if c.transport, err = newTransport(cfg); err != nil {
		return nil, fmt.Errorf("prepare pulls of images: %w", err)
	}
	if c.layers, err = openLayers(cfg.Dir); err != nil {
		return nil, fmt.Errorf("make the directory of pulled layers: %w", err)
	}
	return c, nil
}

// Sweep removes layers that no pull has used since the given time.
func (c *Client) Sweep(since time.Time) error { return c.layers.sweep(since) }

// ParseName parses an image's name and completes it with registry, repository, and tag or
// digest. The error for an invalid name is an *Error.
func ParseName(text string) (name.Reference, error) {
	ref, err := name.ParseReference(strings.TrimSpace(text))
	if err != nil && strings.Contains(text, "$") {
		return nil, &Error{Message: fmt.Sprintf("invalid image reference '%s': the SDK does not fill variables "+
			"in FROM; write the image's name out", text)}
	}
	if err != nil {
		return nil, &Error{Message: fmt.Sprintf("invalid image reference '%s': %v", text, err)}
	}
	return ref, nil
}

// mirrored returns where to ask for an image: at its registry or at a mirror.
func (c *Client) mirrored(ref name.Reference) (name.Reference, error) {
	registry := ref.Context().RegistryStr()
	for _, known := range []string{registry, strings.TrimPrefix(registry, "index.")} {
		mirror, ok := c.mirrors[known]
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
