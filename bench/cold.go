package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// benchCreate alternates creates with starts of stock runsc, so that both see the same
// machine.
func benchCreate(ctx context.Context, b *bench, s *server) error {
	st, err := b.againstStock(s)
	if err != nil {
		return err
	}
	var ours, stock times
	for n := range b.Rounds + 1 {
		begin := time.Now()
		sb, err := s.create(ctx)
		if err != nil {
			return err
		}
		took := time.Since(begin)
		if err := s.kill(ctx, sb); err != nil {
			return err
		}
		id := fmt.Sprintf("stock-%d", n)
		stockTook, err := st.start(ctx, id)
		if err != nil {
			return err
		}
		if err := st.remove(ctx, id); err != nil {
			return err
		}
		if n > 0 { // the first of each warms the caches
			ours, stock = append(ours, took), append(stock, stockTook)
		}
	}
	b.compare("create, until envd is initialized", ours, stock, "runsc run, until envd answers", ratioAtMost(0.75))
	b.cold, b.Phases = ours, s.phases()
	return nil
}

// benchCommand compares a command through the proxy and the SDKs' protocol with runsc exec,
// and with a spawn inside the guest.
func benchCommand(ctx context.Context, b *bench, s *server) error {
	st, err := b.againstStock(s)
	if err != nil {
		return err
	}
	sb, err := s.create(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = s.kill(context.WithoutCancel(ctx), sb) }()
	if _, err := st.start(ctx, "exec"); err != nil {
		return err
	}
	defer func() { _ = st.remove(context.WithoutCancel(ctx), "exec") }()
	ours, exec, calls, err := b.commands(ctx, s, st, sb)
	if err != nil {
		return err
	}
	inside, err := s.command(ctx, sb, fmt.Sprintf(`python3 -c "
import subprocess, time
t = []
for i in range(%d):
    time.sleep(%f)
    b = time.monotonic()
    subprocess.run(['/bin/bash', '-l', '-c', 'true'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    t.append(time.monotonic() - b)
t.sort()
print(t[len(t)//2] * 1000)"`, b.Rounds+3, commandPause.Seconds()))
	if err != nil {
		return err
	}
	spawn, err := strconv.ParseFloat(strings.TrimSpace(inside), 64)
	if err != nil {
		return fmt.Errorf("the guest's own time: %w: %q", err, inside)
	}
	b.compare(`commands.run("true")`, ours, exec, "runsc exec")
	b.add(figure{Name: `commands.run("true")`, Unit: "ms", Ours: ours.median(), Anchor: spawn,
		Of: "spawned inside the guest", Difference: ours.median() - spawn},
		target{"at most +5 ms", func(f figure) bool { return f.Difference <= 5 }})
	b.compare("GET /health by the same way, at the same pace", calls, nil, "")
	return nil
}

// commandPause is before each command, each execution and each spawn alike: what runs all the time stays
// awake and is faster, and what ran a moment ago has taken the processors' caches.
const commandPause = 50 * time.Millisecond

// commands times commands of a sandbox, calls that its daemon answers at once, and executions by stock
// gVisor in the guest exec.
func (b *bench) commands(
	ctx context.Context, s *server, st *stockRuntime, sb sandbox,
) (ours, exec, calls times, err error) {
	for n := range b.Rounds + 3 {
		time.Sleep(commandPause)
		begin := time.Now()
		if _, err := s.command(ctx, sb, "true"); err != nil {
			return nil, nil, nil, err
		}
		took := time.Since(begin)
		time.Sleep(commandPause)
		begin = time.Now()
		resp, err := s.envd(ctx, sb, "GET", "/health", "", nil)
		if err != nil {
			return nil, nil, nil, err
		}
		resp.Body.Close()
		if n >= 3 {
			ours, calls = append(ours, took), append(calls, time.Since(begin))
		}
	}
	for range b.Rounds {
		time.Sleep(commandPause)
		begin := time.Now()
		if err := st.runsc(ctx, "exec", "exec", "/bin/bash", "-l", "-c", "true").Run(); err != nil {
			return nil, nil, nil, fmt.Errorf("runsc exec: %w", err)
		}
		exec = append(exec, time.Since(begin))
	}
	return ours, exec, calls, nil
}

// benchMemory keeps many sandboxes alive and measures the private memory of each.
func benchMemory(ctx context.Context, b *bench, s *server) error {
	var boxes []sandbox
	defer func() {
		for _, sb := range boxes {
			_ = s.kill(context.WithoutCancel(ctx), sb)
		}
	}()
	for range b.many {
		sb, err := s.create(ctx)
		if err != nil {
			return err
		}
		boxes = append(boxes, sb)
	}
	for _, sb := range boxes {
		if err := awaitHealth(ctx, sb.URL); err != nil {
			return fmt.Errorf("one of %d sandboxes: %w", b.many, err)
		}
	}
	var private int64
	for _, sb := range boxes {
		guest, err := s.guestOf(sb)
		if err != nil {
			return err
		}
		for _, group := range guestGroups(guest) {
			private += privateOf(group)
		}
	}
	b.add(figure{Name: fmt.Sprintf("idle private memory, each of %d alive", b.many), Unit: "MiB",
		Ours: float64(private) / float64(b.many) / (1 << 20)})
	return nil
}
