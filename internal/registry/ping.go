package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/name"
)

// Ping asks a registry, or the mirror that stands for it, whether it is one, and returns which was
// asked. A registry that wants a login first is one.
func Ping(ctx context.Context, cfg Config, registry string) (asked string, err error) {
	ref, err := name.ParseReference(registry + "/library/any:any")
	if err != nil {
		return "", fmt.Errorf("%q is no registry: %w", registry, err)
	}
	if ref, err = (&Client{mirrors: cfg.Mirrors}).mirrored(ref); err != nil {
		return "", err
	}
	transport, err := newTransport(cfg)
	if err != nil {
		return "", err
	}
	at := ref.Context().Registry
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.Scheme()+"://"+at.RegistryStr()+"/v2/", nil)
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	var named *url.Error
	if errors.As(err, &named) {
		err = named.Err
	}
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", at.RegistryStr(), err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
		return "", fmt.Errorf("%s answers %s to what registries are asked first", at.RegistryStr(), resp.Status)
	}
	return at.RegistryStr(), nil
}
