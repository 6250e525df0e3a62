package live

import (
	"context"
	"time"
)

const (
	// leaseTime is how long after the end of an api, if it cannot say so, another one does what it did.
	leaseTime = 6 * time.Second
	// leaseBeat is how often a lease is renewed, and how often others look for it.
	leaseBeat = 2 * time.Second
)

// Lead runs work in the one api that has the duty's lease, and in all of them while Redis is lost.
func (r *Redis) Lead(ctx context.Context, duty string, work func(context.Context) error) error {
	tick := time.NewTicker(leaseBeat)
	defer tick.Stop()
	defer r.meters.leading.WithLabelValues(duty).Set(0)
	var now shift
	for {
		leads := r.holds(ctx, duty)
		switch {
		case leads && !now.begun():
			now = begin(ctx, work)
		case !leads && now.begun():
			if err := now.stop(); err != nil {
				return err
			}
			now = shift{}
		}
		r.meters.leading.WithLabelValues(duty).Set(map[bool]float64{true: 1}[now.begun()])
		select {
		case err := <-now.ended: // nil, which blocks, if there is none
			r.release(ctx, duty)
			return err
		case <-ctx.Done():
			err := now.stop()
			r.release(ctx, duty)
			return err
		case <-tick.C:
		}
	}
}

// shift is work that has begun; the zero value has not.
type shift struct {
	cancel context.CancelFunc
	ended  chan error
}

// begin starts work in a goroutine, which stop ends.
func begin(ctx context.Context, work func(context.Context) error) shift {
	ctx, cancel := context.WithCancel(ctx)
	s := shift{cancel: cancel, ended: make(chan error, 1)}
	go func() {
		defer cancel()
		s.ended <- work(ctx)
	}()
	return s
}

func (s shift) begun() bool { return s.cancel != nil }

// stop ends work that has begun, and returns how it ended.
func (s shift) stop() error {
	if !s.begun() {
		return nil
	}
	s.cancel()
	return <-s.ended
}

func (r *Redis) leaseKey(duty string) string { return r.prefix + "duty:" + duty }

func (r *Redis) holds(ctx context.Context, duty string) bool {
	held := int64(0)
	answered := r.ask(ctx, func(ctx context.Context) (err error) {
		held, err = holdScript.Run(ctx, r.client, []string{r.leaseKey(duty)}, r.name, leaseTime.Milliseconds()).Int64()
		return err
	})
	return !answered && ctx.Err() == nil || held == 1
}

// release lets another api begin at once.
func (r *Redis) release(ctx context.Context, duty string) {
	r.ask(context.WithoutCancel(ctx), func(ctx context.Context) error {
		return endScript.Run(ctx, r.client, []string{r.leaseKey(duty)}, r.name).Err()
	})
}
