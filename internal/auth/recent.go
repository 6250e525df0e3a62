package auth

import (
	"hash/maphash"
	"sync"
)

// recent remembers credentials that let somebody in, so that who floods from an address does not
// lock out those who come from it too. It knows them by hashes that nobody can foresee.
type recent struct {
	seed maphash.Seed

	mu    sync.Mutex // guards the rest; a leaf
	known map[uint64]struct{}
}

func newRecent() *recent {
	return &recent{seed: maphash.MakeSeed(), known: map[uint64]struct{}{}}
}

func (r *recent) has(credential string) bool {
	if credential == "" {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.known[maphash.String(r.seed, credential)]
	return ok
}

// note remembers whether a credential let somebody in the last time.
func (r *recent) note(credential string, letIn bool) {
	if credential == "" {
		return
	}
	hash := maphash.String(r.seed, credential)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !letIn {
		delete(r.known, hash)
		return
	}
	if _, ok := r.known[hash]; !ok && len(r.known) >= maxCached {
		for other := range r.known { // any one
			delete(r.known, other)
			break
		}
	}
	r.known[hash] = struct{}{}
}

// Knows reports whether a request has a credential that let somebody in the last time it came.
func (a *Authenticator) Knows(r Request) bool {
	for _, way := range r.Ways {
		if a.recent.has(credential(way, r)) {
			return true
		}
	}
	return false
}

// credential is what a way looks at.
func credential(way Way, r Request) string {
	switch way {
	case ByKey:
		return r.Header.Get(HeaderAPIKey)
	case ByAdmin, ByAdminForTeam:
		return r.Header.Get(HeaderAdminToken)
	}
	return r.Header.Get(HeaderBearer)
}
