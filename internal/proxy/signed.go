package proxy

import (
	"crypto/sha256"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"shoal/internal/shares"
	"shoal/internal/shoal"
)

// A signed file URL on a shared address costs a hash for each sandbox, and anybody can make up
// signatures.
const (
	// signedRate is how many signatures a second that no sandbox made are looked up for one
	// source, and signedBurst how many at once. Right ones are not counted.
	signedRate  = 5
	signedBurst = 50
	// signedSources is how many sources are told apart at once.
	signedSources = 4096
	// signedKept is how many right URLs are remembered, so that they are not looked up again.
	signedKept = 1024
	// signatureSize is of every signature: "v1_", and a hash in base64 (envd.md §3.2).
	signatureSize = 3 + (sha256.Size*8+5)/6
)

// isSigned reports whether a request may count for the daemon by a signature. It does also if it has
// the daemon's token: its header Connection may keep that from getting there.
func isSigned(r *http.Request, rt route) bool {
	return rt.port == shoal.EnvdPort && r.URL.Query().Has("signature")
}

// signedURLs finds whose sandbox a signed URL is for.
type signedURLs struct {
	wrong shares.Rates[netip.Addr]

	mu     sync.Mutex // guards owners; a leaf
	owners map[[sha256.Size]byte]string
}

func newSignedURLs() *signedURLs {
	return &signedURLs{owners: map[[sha256.Size]byte]string{},
		wrong: shares.Rates[netip.Addr]{PerSecond: signedRate, Burst: signedBurst, Takers: signedSources}}
}

// owner returns the ID of the sandbox whose token signed the URL. The error is ErrLookupLimit
// if its source has sent too many that nobody has signed.
func (s *signedURLs) owner(r *http.Request, resolver Resolver) (string, error) {
	query := r.URL.Query()
	if len(query.Get("signature")) != signatureSize {
		return "", shoal.ErrSandboxNotFound.New("the signature is malformed")
	}
	key := signedKey(r.Method, query)
	s.mu.Lock()
	id, known := s.owners[key]
	s.mu.Unlock()
	if known { // if it has ended since, the daemon is not there to ask
		return id, nil
	}
	source := sourceOf(r)
	if !s.wrong.Take(source) {
		return "", shoal.ErrLookupLimit.New("Too many requests with signatures that no sandbox made")
	}
	id, err := resolver.ResolveSigned(r.Context(), source, r.Method, query)
	if err != nil {
		return "", err
	}
	s.wrong.Give(source)
	s.remember(key, id)
	return id, nil
}

// remember keeps whose a URL is. Tokens stay the same, so it does not change.
func (s *signedURLs) remember(key [sha256.Size]byte, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.owners) >= signedKept {
		for other := range s.owners {
			delete(s.owners, other)
			break
		}
	}
	s.owners[key] = id
}

// signedKey is the same for URLs that say the same.
func signedKey(method string, query url.Values) [sha256.Size]byte {
	said := []string{method}
	for _, name := range []string{"signature", "path", "username", "signature_expiration"} {
		said = append(said, strconv.Quote(query.Get(name)))
	}
	return sha256.Sum256([]byte(strings.Join(said, " ")))
}
