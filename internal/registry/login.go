package registry

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Login is the credentials for a registry (templates.md §1.3).
type Login struct {
	Type string // "registry", "aws" or "gcp"

	Username, Password string

	AWSAccessKeyID, AWSSecretAccessKey, AWSRegion string

	ServiceAccountJSON string
}

// authenticator turns a login into the credentials sent to the registry. A nil login is
// anonymous.
func (c *Client) authenticator(ctx context.Context, login *Login) (authn.Authenticator, error) {
	switch {
	case login == nil:
		return authn.Anonymous, nil
	case login.Type == "registry":
		return &authn.Basic{Username: login.Username, Password: login.Password}, nil
	case login.Type == "gcp":
		return &authn.Basic{Username: "_json_key", Password: login.ServiceAccountJSON}, nil
	case login.Type == "aws":
		return c.ecrLogin(ctx, *login)
	default:
		return nil, &Error{Message: fmt.Sprintf("registries of type '%s' are not known; there are 'registry', 'aws' and 'gcp'", login.Type)}
	}
}
