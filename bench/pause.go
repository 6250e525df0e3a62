package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"shoal/internal/envdapi"
)

// dirty is how much random memory a sandbox holds when it is paused.
type dirty struct {
	name        string
	mb          int
	pause, back []target
	rounds      int // at most, because large sandboxes take long
}

var dirties = []dirty{
	{name: "idle", pause: []target{atMost(60)}, back: []target{atMost(60)}, rounds: 100},
	{name: "64 MB", mb: 64, rounds: 10},
	{name: "512 MB", mb: 512, pause: []target{atMost(0.6 * 512 / 1.024)}, rounds: 5},
}

// command makes a sandbox hold memory that can be neither compressed nor shared.
func (d dirty) command() string {
	return fmt.Sprintf(`python3 -c 'import os, time; held = os.urandom(%d); os.close(os.open("/tmp/held", os.O_CREAT)); time.sleep(1e6)' </dev/null >/dev/null 2>&1 &
while [ ! -e /tmp/held ]; do sleep 0.05; done`, d.mb<<20)
}

// benchPause compares pause and resume from disk with runsc's own checkpoint and restore of
// the same files.
func benchPause(ctx context.Context, b *bench, s *server) error {
	st, err := b.againstStock(s)
	if err != nil {
		return err
	}
	for _, d := range dirties {
		var pause, resume, checkpoint, restore times
		for n := range min(b.Rounds, d.rounds) + 1 {
			p, back, err := s.pauseAndResume(ctx, d, true)
			if err != nil {
				return err
			}
			c, t, err := st.checkpointAndRestore(ctx, fmt.Sprintf("pause-%d-%d", d.mb, n), d)
			if err != nil {
				return err
			}
			if n > 0 {
				pause, resume = append(pause, p), append(resume, back)
				checkpoint, restore = append(checkpoint, c), append(restore, t)
			}
		}
		b.compare("pause, "+d.name, pause, checkpoint, "runsc checkpoint", d.pause...)
		b.compare("resume from disk, "+d.name, resume, restore, "runsc restore, until envd answers", d.back...)
	}
	return nil
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
	if err := s.pause(ctx, sb); err != nil {
		return 0, 0, err
	}
	pause = time.Since(begin)
	if fromDisk {
		if err := s.awaitEnd(ctx, guest); err != nil {
			return 0, 0, err
		}
	}
	begin = time.Now()
	err = s.connect(ctx, sb)
	return pause, time.Since(begin), err
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
