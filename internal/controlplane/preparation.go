package controlplane

import (
	"context"
	"errors"

	"shoal/internal/api"
	"shoal/internal/config"
	"shoal/internal/store"
)

// Preparation is what a control plane needs and a machine does not, made ready while the machine
// of the same process starts: the database and the API's specification. Close it, or hand it to Open.
type Preparation struct {
	store *store.Store
	err   error
	done  chan struct{} // closed when store and err are set
}

// Prepare begins to open the database and brings it up to date. On a machine, call it only when the
// machine's locks are held: an earlier process could still be using the database.
func Prepare(ctx context.Context, cfg *config.Config) *Preparation {
	p := &Preparation{done: make(chan struct{})}
	go func() { // ends when both are there, or ctx
		defer close(p.done)
		if p.err = api.ReadSpecification(); p.err == nil {
			p.store, p.err = OpenStore(ctx, cfg)
		}
	}()
	return p
}

// take waits for the database and leaves it to the caller.
func (p *Preparation) take() (*store.Store, error) {
	<-p.done
	st := p.store
	if st == nil && p.err == nil {
		return nil, errors.New("a control plane's database was taken twice")
	}
	p.store = nil
	return st, p.err
}

// Close closes the database, if no control plane was opened with it.
func (p *Preparation) Close() error {
	<-p.done
	if p.store == nil {
		return nil
	}
	return p.store.Close()
}
