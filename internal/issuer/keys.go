package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"shoal/internal/outbound"
)

const (
	// keysTime is how long an issuer's keys are taken from memory (api.md §2.1). While it cannot
	// be asked they are for staleTime, so that its outage does not lock everybody out.
	keysTime  = 5 * time.Minute
	staleTime = time.Hour
	// pause is the least time between two askings of an issuer: anybody can send tokens that name
	// an unknown key.
	pause = 10 * time.Second
	// askTime bounds one asking, and maxAnswer each of its answers, in bytes.
	askTime   = 5 * time.Second
	maxAnswer = 1 << 20
	maxKeys   = 100
)

// keys are an issuer's.
type keys struct {
	cfg    Config
	client *http.Client
	published[[]jose.JSONWebKey]
}

func newKeys(cfg Config, client *http.Client, now func() time.Time) *keys {
	k := &keys{cfg: cfg, client: client}
	k.published = published[[]jose.JSONWebKey]{fetch: k.fetchKeys, now: now, none: errors.New("they are too old")}
	return k
}

// find returns the keys by which a signature may have been made: those of the ID, or all of them
// for a token that names none. It asks the issuer if the ID is not known, or what is known is
// old.
func (k *keys) find(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	found, fresh, err := k.lookUp(id)
	if (fresh && len(found) > 0) || !k.mayAsk() {
		return found, err
	}
	k.ask(ctx)
	found, _, err = k.lookUp(id)
	return found, err
}

// lookUp returns the keys of an ID and whether they need not be asked for again. The error says
// why there are no keys at all.
func (k *keys) lookUp(id string) (found []jose.JSONWebKey, fresh bool, err error) {
	known, fresh, err := k.last()
	for _, key := range known {
		if id == "" || key.KeyID == id {
			found = append(found, key)
		}
	}
	return found, fresh, err
}

// description is what an issuer says of itself.
type description struct {
	Issuer        string   `json:"issuer"`
	Keys          string   `json:"jwks_uri"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Methods       []string `json:"token_endpoint_auth_methods_supported"`
}

// describe asks the issuer for its description.
func (c Config) describe(ctx context.Context, client *http.Client) (about description, err error) {
	discovery := c.discovery()
	if err := get(ctx, client, discovery, &about); err != nil {
		return about, err
	}
	// Somebody else's description would have us trust somebody else's keys. An operator who says
	// where it is means that one.
	if c.Discovery == "" && about.Issuer != c.URL {
		return about, fmt.Errorf("%s describes the issuer %q", discovery, about.Issuer)
	}
	return about, nil
}

// checkSignIn returns what keeps people from signing in at the issuer by a browser.
func (d description) checkSignIn(c Config) error {
	for _, address := range []string{d.Authorization, d.Token} {
		u, err := url.Parse(address)
		plain := err == nil && u.Scheme == "http" && !strings.HasPrefix(c.URL, "https://")
		if err != nil || u.Host == "" || (u.Scheme != "https" && !plain) {
			return fmt.Errorf("%s has people sign in at %q", c.discovery(), address)
		}
	}
	return nil
}

// fetchKeys asks where the keys are, then for the keys.
func (k *keys) fetchKeys(ctx context.Context) ([]jose.JSONWebKey, error) {
	about, err := k.cfg.describe(ctx, k.client)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(k.cfg.URL, "https://") && !strings.HasPrefix(about.Keys, "https://") {
		return nil, fmt.Errorf("%s has its keys at %q, which is not https", k.cfg.discovery(), about.Keys)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := get(ctx, k.client, about.Keys, &set); err != nil {
		return nil, err
	}
	return readKeys(set.Keys)
}

// readKeys leaves out keys that no token can be checked by, such as those of unknown kinds.
func readKeys(set []json.RawMessage) ([]jose.JSONWebKey, error) {
	if len(set) > maxKeys {
		return nil, fmt.Errorf("the issuer has %d keys, more than %d", len(set), maxKeys)
	}
	var list []jose.JSONWebKey
	for _, raw := range set {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) != nil || !key.Valid() || !key.IsPublic() || (key.Use != "" && key.Use != "sig") {
			continue
		}
		list = append(list, key)
	}
	if len(list) == 0 {
		return nil, errors.New("the issuer has no key that signatures could be checked by")
	}
	return list, nil
}

func get(ctx context.Context, client *http.Client, url string, into any) error {
	req, err := http.NewRequestWithContext(outbound.WithBodyLimit(ctx, maxAnswer), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read the answer of %s: %w", url, err)
	}
	return nil
}
