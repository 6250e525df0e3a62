package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

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

// keys are what an issuer has published last.
type keys struct {
	cfg    Config
	client *http.Client
	now    func() time.Time
	asking singleflight.Group

	mu    sync.Mutex // guards the rest
	known []jose.JSONWebKey
	at    time.Time // when they were had
	asked time.Time // when the issuer was last asked, with or without success
	err   error     // how that ended
}

func newKeys(cfg Config, client *http.Client, now func() time.Time) *keys {
	return &keys{cfg: cfg, client: client, now: now}
}

// find returns the keys by which a signature may have been made: those of the ID, or all of them
// for a token that names none. It asks the issuer if the ID is not known, or what is known is
// old.
func (k *keys) find(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	found, fresh, err := k.lookUp(id)
	if (fresh && len(found) > 0) || !k.mayAsk() {
		return found, err
	}
	// Those who wait share the asking, so it must not end with the first one's request.
	shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	_, _, _ = k.asking.Do("", func() (any, error) {
		k.ask(shared)
		return nil, nil
	})
	found, _, err = k.lookUp(id)
	return found, err
}

// lookUp returns the keys of an ID and whether they need not be asked for again. The error says
// why there are no keys at all.
func (k *keys) lookUp(id string) (found []jose.JSONWebKey, fresh bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := k.now().Sub(k.at)
	if k.at.IsZero() || age >= staleTime {
		if k.err == nil {
			return nil, false, errors.New("they are too old")
		}
		return nil, false, k.err
	}
	for _, key := range k.known {
		if id == "" || key.KeyID == id {
			found = append(found, key)
		}
	}
	return found, age < keysTime, nil
}

func (k *keys) mayAsk() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now().Sub(k.asked) >= pause
}

func (k *keys) ask(ctx context.Context) {
	if !k.mayAsk() { // another request has, since this one looked
		return
	}
	list, err := k.fetch(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked, k.err = k.now(), err
	if err == nil {
		k.known, k.at = list, k.asked
	}
}

// fetch asks where the keys are, then for the keys.
func (k *keys) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	discovery := k.cfg.discovery()
	var about struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := k.get(ctx, discovery, &about); err != nil {
		return nil, err
	}
	// Somebody else's description would have us trust somebody else's keys. An operator who says
	// where it is means that one.
	if k.cfg.Discovery == "" && about.Issuer != k.cfg.URL {
		return nil, fmt.Errorf("%s describes the issuer %q", discovery, about.Issuer)
	}
	if strings.HasPrefix(k.cfg.URL, "https://") && !strings.HasPrefix(about.Keys, "https://") {
		return nil, fmt.Errorf("%s has its keys at %q, which is not https", discovery, about.Keys)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := k.get(ctx, about.Keys, &set); err != nil {
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

func (k *keys) get(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(outbound.WithBodyLimit(ctx, maxAnswer), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := k.client.Do(req)
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
