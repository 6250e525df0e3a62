package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"shoal/internal/envdapi"
)

// dirty is how much random memory a sandbox holds when it is paused.
type dirty struct {
	name    string
	mb      int
	pauseMs float64 // target for the median; 0 means none
	backMs  float64
	atMost  int // rounds, because large sandboxes take long
}

var dirties = []dirty{{"idle", 0, 60, 60, 100}, {"64 MB", 64, 0, 0, 10},
	{"512 MB", 512, 0.6 * 512 / 1.024, 0, 5}}

// command makes a sandbox hold memory that can be neither compressed nor shared.
func (d dirty) command() string {
	return fmt.Sprintf(`python3 -c 'import os, time; held = os.urandom(%d); os.close(os.open("/tmp/held", os.O_CREAT)); time.sleep(1e6)' </dev/null >/dev/null 2>&1 &
while [ ! -e /tmp/held ]; do sleep 0.05; done`, d.mb<<20)
}

// benchPause compares pause and resume from disk with runsc's own checkpoint and restore of
// the same files.
func benchPause(ctx context.Context, r *report, s *server, st *stockRuntime) error {
	for _, d := range dirties {
		var pause, resume, checkpoint, restore times
		for n := range min(r.Rounds, d.atMost) + 1 {
			p, b, err := s.pauseAndResume(ctx, d, true)
			if err != nil {
				return err
			}
			c, t, err := st.checkpointAndRestore(ctx, fmt.Sprintf("pause-%d-%d", d.mb, n), d)
			if err != nil {
				return err
			}
			if n > 0 {
				pause, resume = append(pause, p), append(resume, b)
				checkpoint, restore = append(checkpoint, c), append(restore, t)
			}
		}
		r.compare("pause, "+d.name, pause, checkpoint, "runsc checkpoint", d.pauseMs)
		r.compare("resume from disk, "+d.name, resume, restore, "runsc restore, until envd answers", d.backMs)
	}
	return nil
}

// compare adds a figure with an upper bound in ms; 0 means none.
func (r *report) compare(name string, ours, anchor times, of string, atMost float64) {
	f := figure{Name: name, Unit: "ms", Ours: ours.median(), P95: ours.p95(), Of: of}
	if len(anchor) > 0 {
		f.Anchor = anchor.median()
		f.Ratio = f.Ours / f.Anchor
	}
	if atMost > 0 {
		f.Target, f.Met = fmt.Sprintf("at most %.0f ms", atMost), f.Ours <= atMost
	}
	r.add(f)
}

// pauseAndResume times both for a new sandbox. With fromDisk, the guest has ended before
// the resume.
func (s *server) pauseAndResume(ctx context.Context, d dirty,
	fromDisk bool) (pause, resume time.Duration, err error) {
	sb, err := s.create(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = s.kill(context.WithoutCancel(ctx), sb) }()
	if d.mb > 0 {
		if _, err := s.command(ctx, sb, d.command()); err != nil {
			return 0, 0, err
		}
	}
	guest, err := s.guestOf(sb)
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	if err := s.call(ctx, "POST", "/sandboxes/"+sb.ID+"/pause", "{}", 204, nil); err != nil {
		return 0, 0, err
	}
	pause = time.Since(begin)
	if fromDisk {
		if err := s.awaitEnd(ctx, guest); err != nil {
			return 0, 0, err
		}
	}
	begin = time.Now()
	err = s.call(ctx, "POST", "/v2/sandboxes/"+sb.ID+"/connect", `{"timeout":3600}`, 201, nil)
	return pause, time.Since(begin), err
}

// awaitEnd waits until the guest of a paused sandbox has ended.
func (s *server) awaitEnd(ctx context.Context, guest string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(guestGroups(guest)) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// checkpointAndRestore times the same with runsc alone.
func (st *stockRuntime) checkpointAndRestore(ctx context.Context, id string,
	d dirty) (checkpoint, restore time.Duration, err error) {
	if _, err := st.start(ctx, id); err != nil {
		return 0, 0, err
	}
	image := filepath.Join(st.dir, "checkpoint")
	back := id + "-back"
	defer func() {
		ctx := context.WithoutCancel(ctx)
		_ = st.remove(ctx, id)
		_ = st.remove(ctx, back)
		_ = os.RemoveAll(image)
	}()
	if d.mb > 0 {
		if out, err := st.runsc(ctx, "exec", id, "/bin/sh", "-c", d.command()).CombinedOutput(); err != nil {
			return 0, 0, fmt.Errorf("fill the stock container: %w\n%s", err, out)
		}
	}
	if err := os.MkdirAll(image, 0o755); err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	if out, err := st.runsc(ctx, "checkpoint", "--image-path", image, id).CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("runsc checkpoint: %w\n%s", err, out)
	}
	checkpoint = time.Since(begin)
	if err := st.remove(ctx, id); err != nil {
		return 0, 0, err
	}
	if err := st.prepare(); err != nil {
		return 0, 0, err
	}
	begin = time.Now()
	if err := st.runsc(ctx, "--log="+filepath.Join(st.dir, "runsc.log"), "restore", "--detach",
		"--image-path", image, "--bundle", st.bundle, back).Run(); err != nil {
		said, _ := os.ReadFile(filepath.Join(st.dir, "runsc.log"))
		return 0, 0, fmt.Errorf("runsc restore: %w\n%s", err, said)
	}
	if err := awaitHealth(ctx, envdapi.URL(stockGuest)); err != nil {
		return 0, 0, err
	}
	return checkpoint, time.Since(begin), nil
}

// warmGuests is how many guests the second installation starts ahead.
const warmGuests = 20

// benchWarm measures what is started ahead: creates from the warm pool, one after the other
// and all at once, and the resume of a guest that still rests.
func benchWarm(ctx context.Context, r *report, s *server) error {
	if err := s.awaitWarm(ctx); err != nil {
		return err
	}
	var frozen int64
	for _, group := range guestGroups("warm-*") {
		frozen += privateOf(group)
	}
	r.add(figure{Name: fmt.Sprintf("frozen private memory, each of %d", warmGuests), Unit: "MiB",
		Ours: float64(frozen) / warmGuests / (1 << 20)})
	var first times
	for range min(r.Rounds, warmGuests) {
		begin := time.Now()
		sb, err := s.create(ctx)
		if err != nil {
			return err
		}
		if _, err := s.command(ctx, sb, "true"); err != nil {
			return err
		}
		first = append(first, time.Since(begin))
		if err := s.kill(ctx, sb); err != nil {
			return err
		}
		if err := rest(ctx, aftermath); err != nil {
			return err
		}
	}
	r.compare("create of a warm guest, first command done", first, nil, "", 30)
	r.add(figure{Name: "the same, 95th percentile", Unit: "ms", Ours: first.p95(), Target: "at most 80 ms",
		Met: first.p95() <= 80})
	if err := s.benchBurst(ctx, r); err != nil {
		return err
	}
	if err := s.benchEmptyPool(ctx, r); err != nil {
		return err
	}
	var rested times
	for n := range r.Rounds + 1 {
		_, back, err := s.pauseAndResume(ctx, dirty{name: "idle"}, false)
		if err != nil {
			return err
		}
		if n > 0 {
			rested = append(rested, back)
		}
	}
	r.compare("resume of a resting sandbox", rested, nil, "", 20)
	return s.benchFork(ctx, r)
}

// aftermath is how long the machine is busy cleaning up after a killed sandbox. It must not
// count toward the next create.
const aftermath = 100 * time.Millisecond

func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// benchBurst creates as many sandboxes at once as there are warm guests.
func (s *server) benchBurst(ctx context.Context, r *report) error {
	var all times
	for range 3 {
		if err := s.awaitWarm(ctx); err != nil {
			return err
		}
		burst, boxes, errs := make(times, warmGuests), make([]sandbox, warmGuests), make([]error, warmGuests)
		var wg sync.WaitGroup
		for i := range warmGuests {
			wg.Go(func() {
				begin := time.Now()
				boxes[i], errs[i] = s.create(ctx)
				burst[i] = time.Since(begin)
			})
		}
		wg.Wait()
		for i, err := range errs {
			if err == nil {
				err = s.kill(ctx, boxes[i])
			}
			if err != nil {
				return err
			}
		}
		all = append(all, burst...)
	}
	r.add(figure{Name: fmt.Sprintf("burst of %d creates, 95th percentile", warmGuests), Unit: "ms",
		Ours: all.p95(), Target: "at most 400 ms", Met: all.p95() <= 400})
	return nil
}

// benchEmptyPool compares a create that finds the pool empty with a create where there is
// no pool.
func (s *server) benchEmptyPool(ctx context.Context, r *report) error {
	var beyond times
	for range 5 {
		if err := s.awaitWarm(ctx); err != nil {
			return err
		}
		var boxes []sandbox
		for range warmGuests {
			sb, err := s.create(ctx)
			if err != nil {
				return err
			}
			boxes = append(boxes, sb)
		}
		begin := time.Now()
		sb, err := s.create(ctx)
		if err != nil {
			return err
		}
		beyond = append(beyond, time.Since(begin))
		for _, sb := range append(boxes, sb) {
			if err := s.kill(ctx, sb); err != nil {
				return err
			}
		}
	}
	r.compare("create that finds the pool empty", beyond, r.cold, "create where there is no pool", 0)
	return nil
}

// awaitWarm waits until the pool is full and idle.
func (s *server) awaitWarm(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(guestGroups("warm-*")) < warmGuests {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	// The kernels free what their boot left 2 s after their start.
	return rest(ctx, 3*time.Second)
}

const forks = 10

func (s *server) benchFork(ctx context.Context, r *report) error {
	var all times
	for range 3 {
		sb, err := s.create(ctx)
		if err != nil {
			return err
		}
		var made []struct{ Sandbox sandbox }
		begin := time.Now()
		if err := s.call(ctx, "POST", "/sandboxes/"+sb.ID+"/fork",
			fmt.Sprintf(`{"count":%d,"timeout":600}`, forks), 201, &made); err != nil {
			return err
		}
		all = append(all, time.Since(begin))
		for _, m := range made {
			if err := awaitHealth(ctx, m.Sandbox.URL); err != nil {
				return err
			}
			if err := s.kill(ctx, m.Sandbox); err != nil {
				return err
			}
		}
		if err := s.kill(ctx, sb); err != nil {
			return err
		}
	}
	r.add(figure{Name: fmt.Sprintf("fork × %d, all of them answering", forks), Unit: "ms",
		Ours: all.median()})
	return nil
}
