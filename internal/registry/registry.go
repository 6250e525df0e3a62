// Package registry is the client of container registries: it finds an image by its name
// and pulls it into a store of layers, from where it can be read.
package registry

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

// MaxImage bounds an image's files, in bytes (templates.md §1.12).
const MaxImage = 25_000 << 20

// Config says how registries are reached, and where their layers are kept.
type Config struct {
	// Dir is for the layers, and for nothing else.
	Dir string
	// Mirrors are registries to ask in another's place, by its name: "docker.io".
	Mirrors map[string]string
	// CAFiles are PEM files of authorities that registries' certificates may be
	// signed by, besides the system's.
	CAFiles []string
	// ECR is the URL that is asked for logins of type "aws", in place of AWS's own.
	ECR string
}

// Client asks registries. Safe for concurrent use; one process pulls into a directory.
type Client struct {
	layers    *layerStore
	mirrors   map[string]string
	ecr       string
	transport *http.Transport
}

// NewClient makes the directory if it is missing.
func NewClient(cfg Config) (*Client, error) {
	c := &Client{mirrors: cfg.Mirrors, ecr: cfg.ECR}
	var err error
	if c.transport, err = newTransport(cfg.CAFiles); err != nil {
		return nil, fmt.Errorf("prepare pulls of images: %w", err)
	}
	if c.layers, err = openLayers(cfg.Dir); err != nil {
		return nil, fmt.Errorf("make the directory of pulled layers: %w", err)
	}
	return c, nil
}

// Sweep removes layers that no pull has used since a time.
func (c *Client) Sweep(since time.Time) error { return c.layers.sweep(since) }

// ParseName gives an image's name its full form: registry, repository, tag or digest.
// A name that is none is an *Error.
func ParseName(text string) (name.Reference, error) {
	ref, err := name.ParseReference(strings.TrimSpace(text))
	if err != nil {
		return nil, &Error{Message: fmt.Sprintf("invalid image reference '%s': %v", text, err)}
	}
	return ref, nil
}

// mirrored is where to ask for an image.
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
