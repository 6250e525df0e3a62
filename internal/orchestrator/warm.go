package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/envdapi/client"
	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Guests are started ahead for the builds that are asked for often, and stand
// frozen with their daemon ready. A create claims one: it thaws the guest and
// tells it whose it is. A client sees nothing of this but the speed.

// warmGuest is a guest without a sandbox.
type warmGuest struct {
	id       string
	secret   string
	build    shoal.Build
	root     runtime.Root
	kernel   string
	guest    runtime.Guest
	envd     *client.Client
	slot     *network.Slot
	restored bool // it has the memory, and thus the environment, of a snapshot
}

func (w *warmGuest) ended() bool {
	select {
	case <-w.guest.Done():
		return true
	default:
		return false
	}
}

// warmPool holds the guests that were started ahead, and remembers what is asked
// for. Nothing is locked while mu is held.
type warmPool struct {
	mu     sync.Mutex
	ready  map[string][]*warmGuest // by build ID
	demand map[string]demand       // by build ID
	taken  chan<- struct{}         // tells the keeper, which may be busy
}

// demand is how often a build was asked for lately: each create counts 1, and
// half of it after halfLife.
type demand struct {
	score float64
	at    time.Time
}

// halfLife is how fast past creates lose their weight.
const halfLife = time.Minute

func newWarmPool(taken chan<- struct{}) *warmPool {
	return &warmPool{ready: map[string][]*warmGuest{}, demand: map[string]demand{}, taken: taken}
}

// tell sends without waiting for the receiver.
func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take returns a guest of a build, or nil, and counts the demand.
func (p *warmPool) take(buildID string, resources shoal.Resources, now time.Time) *warmGuest {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.demand[buildID]
	p.demand[buildID] = demand{score: d.now(now) + 1, at: now}
	list := p.ready[buildID]
	at := slices.IndexFunc(list, func(w *warmGuest) bool { return !w.ended() && w.build.Resources == resources })
	if at < 0 {
		return nil
	}
	w := list[at]
	p.ready[buildID] = slices.Delete(list, at, at+1)
	tell(p.taken)
	return w
}

func (d demand) now(now time.Time) float64 {
	if d.at.IsZero() {
		return 0
	}
	return d.score * math.Exp2(-now.Sub(d.at).Seconds()/halfLife.Seconds())
}

func (p *warmPool) add(w *warmGuest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready[w.build.ID] = append(p.ready[w.build.ID], w)
}

func (p *warmPool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, list := range p.ready {
		n += len(list)
	}
	return n
}

// surplus takes out the guests that have ended, and those beyond what is wanted
// of their build.
func (p *warmPool) surplus(wanted map[string]int) []*warmGuest {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*warmGuest
	for id, list := range p.ready {
		var kept []*warmGuest
		for _, w := range list {
			if w.ended() || len(kept) >= wanted[id] {
				out = append(out, w)
				continue
			}
			kept = append(kept, w)
		}
		if len(kept) == 0 {
			delete(p.ready, id)
			continue
		}
		p.ready[id] = kept
	}
	return out
}

// missing returns a build that has fewer guests than wanted, the emptiest first.
func (p *warmPool) missing(wanted map[string]int) (buildID string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := 0
	for id, n := range wanted {
		if lack := n - len(p.ready[id]); lack > most {
			buildID, most, ok = id, lack, true
		}
	}
	return buildID, ok
}

// scores forgets builds that nobody has asked for in a long time.
func (p *warmPool) scores(now time.Time) map[string]float64 {
	const forgotten = 0.1
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]float64{}
	for id, d := range p.demand {
		if out[id] = d.now(now); out[id] < forgotten {
			delete(p.demand, id)
			delete(out, id)
		}
	}
	return out
}

// startWarm boots a guest of a build without a sandbox and freezes it when its
// daemon answers.
func (o *Orchestrator) startWarm(ctx context.Context, build shoal.Build) (*warmGuest, error) {
	from, err := o.originOf(build.ID)
	if err != nil {
		return nil, err
	}
	slot, err := o.slots.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	w := &warmGuest{id: "warm-" + shoal.NewExecutionID()[:18], build: build, root: from.root, kernel: from.kernel,
		slot: slot, envd: client.New(slot.HostIP().String(), "", client.KeepAlive()), restored: from.checkpoint != ""}
	if w.kernel == "" {
		w.kernel = o.runtime.Kernel()
	}
	if err := o.bootWarm(ctx, w, from); err != nil {
		return nil, errors.Join(err, o.stopWarm(context.WithoutCancel(ctx), w))
	}
	return w, nil
}

func (o *Orchestrator) bootWarm(ctx context.Context, w *warmGuest, from origin) (err error) {
	spec := o.specOf(w.id, w.root, w.kernel, w.build.Resources, w.slot)
	var variable string
	w.secret, variable = bootSecret()
	spec.Env = append(spec.Env, variable)
	if err := os.MkdirAll(spec.Dir, 0o700); err != nil {
		return fmt.Errorf("make the guest's directory: %w", err)
	}
	if from.checkpoint == "" {
		w.guest, err = o.runtime.Start(ctx, spec)
	} else {
		w.guest, err = o.runtime.Restore(ctx, spec, from.checkpoint)
	}
	if err != nil {
		return err
	}
	if from.verify != nil {
		if err := from.verify(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, o.cfg.EnvdTimeout)
	defer cancel()
	ctx, stop := cancelWhenDone(ctx, w.guest.Done())
	defer stop()
	if from.checkpoint == "" {
		err = o.warmDaemon(ctx, w)
	} else {
		err = w.envd.Ready(ctx)
	}
	if err != nil {
		return err
	}
	if from.start.Ready != "" {
		o.touch(ctx, w.slot.HostIP().String(), from.start)
	}
	if err := w.guest.Freeze(ctx); err != nil {
		return err
	}
	return w.slot.SetEgress(o.openEgress)
}

// warmDaemon waits for the daemon of a new guest and lets it do once what its first
// client will ask for: the first time takes several times as long as the second.
func (o *Orchestrator) warmDaemon(ctx context.Context, w *warmGuest) error {
	// Not where its node is: nobody has a use for its log yet.
	err := w.envd.Init(ctx, envdapi.Init{DefaultUser: w.build.DefaultUser, DefaultWorkdir: w.build.DefaultWorkdir})
	if err != nil {
		return err
	}
	if err := w.envd.WarmUp(ctx, w.build.DefaultUser); err != nil {
		o.log.Debug("a guest started ahead ran no shell", "build", w.build.ID, "error", err)
	}
	return nil
}

// touch runs a template's ready command in a restored guest: what the template runs
// then has its memory in place when the first client comes.
func (o *Orchestrator) touch(ctx context.Context, host string, start shoal.StartBlock) {
	ctx, cancel := context.WithTimeout(ctx, touchLimit)
	defer cancel()
	err := client.New(host, "").Run(ctx, client.Command{User: start.Context.User, Args: client.Shell(start.Ready),
		Env: start.Context.Env, Dir: start.Context.Workdir}, nil, func(bool, []byte) {})
	if err != nil { // such as one that only sleeps
		o.log.Debug("a template started ahead is not ready again", "error", err)
	}
}

// touchLimit is what a ready command may take in a guest where it has succeeded before.
const touchLimit = time.Second

// stopWarm ends a guest that nobody claimed.
func (o *Orchestrator) stopWarm(ctx context.Context, w *warmGuest) error {
	var err error
	w.envd.Close()
	if w.guest != nil {
		err = w.guest.Kill(ctx)
	}
	o.slots.Release(w.slot)
	return errors.Join(err, os.RemoveAll(o.guestDir(w.id)))
}

// claim makes a guest that was started ahead the sandbox's.
func (o *Orchestrator) claim(ctx context.Context, sb *sandbox, w *warmGuest, egress network.Egress, l lease) error {
	defer w.envd.Close()
	sb.mu.Lock()
	sb.slot, sb.root, sb.kernel, sb.guestID, sb.guest, sb.bootSecret = w.slot, w.root, w.kernel, w.id, w.guest, w.secret
	sb.view.ExecutionID = shoal.NewExecutionID()
	sb.view.HostIP = w.slot.HostIP().String()
	sb.mu.Unlock()
	if err := o.saveView(sb); err != nil {
		return err
	}
	o.watch(sb, w.guest)
	done, err := o.claims.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	if !reflect.DeepEqual(egress, o.openEgress) {
		// Before anything in the guest can move.
		end := telemetry.Begin(ctx, "egress")
		err := w.slot.SetEgress(egress)
		end()
		if err != nil {
			return err
		}
	}
	end := telemetry.Begin(ctx, "thaw")
	err = w.guest.Thaw(ctx)
	end()
	if err != nil {
		return err
	}
	return o.initialise(ctx, sb, l, w.envd)
}
