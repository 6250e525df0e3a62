package orchestrator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// bootShell is a sandbox kernel that was started ahead, in a slot, without a
// guest: what is common to every start and every resume on one root image.
type bootShell struct {
	id     string
	secret string
	key    shellKey
	shell  runtime.Shell
	slot   *network.Slot
}

// shellKey is what a kernel is told when it starts.
type shellKey struct {
	root      runtime.Root
	resources shoal.Resources
}

func (b *bootShell) ended() bool {
	select {
	case <-b.shell.Done():
		return true
	default:
		return false
	}
}

// shellPool holds kernels started ahead. Nothing is locked while mu is held.
type shellPool struct {
	mu     sync.Mutex
	ready  map[shellKey][]*bootShell
	demand map[shellKey]demand
	taken  chan<- struct{} // tells the keeper, which may be busy
}

func newShellPool(taken chan<- struct{}) *shellPool {
	return &shellPool{ready: map[shellKey][]*bootShell{}, demand: map[shellKey]demand{}, taken: taken}
}

// take returns a kernel, or nil, and counts the demand.
func (p *shellPool) take(key shellKey, now time.Time) *bootShell {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.demand[key]
	p.demand[key] = demand{score: d.now(now) + 1, at: now}
	tell(p.taken)
	list := p.ready[key]
	at := slices.IndexFunc(list, func(b *bootShell) bool { return !b.ended() })
	if at < 0 {
		return nil
	}
	b := list[at]
	p.ready[key] = slices.Delete(list, at, at+1)
	return b
}

func (p *shellPool) add(b *bootShell) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready[b.key] = append(p.ready[b.key], b)
}

// surplus takes out what has ended, and what is beyond the wanted numbers.
func (p *shellPool) surplus(wanted map[shellKey]int) []*bootShell {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*bootShell
	for key, list := range p.ready {
		var kept []*bootShell
		for _, b := range list {
			if b.ended() || len(kept) >= wanted[key] {
				out = append(out, b)
				continue
			}
			kept = append(kept, b)
		}
		if p.ready[key] = kept; len(kept) == 0 {
			delete(p.ready, key)
		}
	}
	return out
}

func (p *shellPool) missing(wanted map[shellKey]int) (key shellKey, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, n := range wanted {
		if len(p.ready[key]) < n {
			return key, true
		}
	}
	return key, false
}

// asked are the kernels that were asked for lately.
func (p *shellPool) asked(now time.Time) []shellKey {
	const lately = 0.1
	p.mu.Lock()
	defer p.mu.Unlock()
	var keys []shellKey
	for key, d := range p.demand {
		if d.now(now) < lately {
			delete(p.demand, key)
			continue
		}
		keys = append(keys, key)
	}
	return keys
}

// bootSecret is what proves to a guest started ahead that the host speaks, and
// the variable by which the guest knows it.
func bootSecret() (secret, variable string) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	secret = hex.EncodeToString(b[:])
	return secret, envdapi.BootHashVariable + "=" + envdapi.BootHash(secret)
}

// startShell starts a kernel ahead.
func (o *Orchestrator) startShell(ctx context.Context, key shellKey) (*bootShell, error) {
	slot, err := o.slots.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	b := &bootShell{id: "shell-" + shoal.NewExecutionID()[:18], key: key, slot: slot}
	err = slot.SetEgress(o.openEgress) // nothing is there yet that could use it
	if err == nil {
		b.shell, err = o.prepareShell(ctx, b)
	}
	if err != nil {
		return nil, errors.Join(err, o.stopShell(context.WithoutCancel(ctx), b))
	}
	return b, nil
}

func (o *Orchestrator) prepareShell(ctx context.Context, b *bootShell) (runtime.Shell, error) {
	spec := o.specOf(b.id, b.key.root, "", b.key.resources, b.slot)
	var variable string
	b.secret, variable = bootSecret()
	spec.Env = append(spec.Env, variable)
	if err := os.MkdirAll(spec.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the guest's directory: %w", err)
	}
	return o.runtime.Prepare(ctx, spec)
}

func (o *Orchestrator) stopShell(ctx context.Context, b *bootShell) error {
	var err error
	if b.shell != nil {
		err = b.shell.Kill(ctx)
	}
	o.slots.Release(b.slot)
	return errors.Join(err, os.RemoveAll(o.guestDir(b.id)))
}
