package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// benchCreate alternates creates with starts of stock runsc, so that both see the same
// machine.
func benchCreate(ctx context.Context, r *report, s *server, st *stockRuntime) error {
	var ours, stock times
	for n := range r.Rounds + 1 {
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
	f := figure{Name: "create, until envd is initialized", Unit: "ms", Ours: ours.median(), P95: ours.p95(),
		Anchor: stock.median(), Of: "runsc run, until envd answers", Target: "at most × 0.75"}
	r.cold = ours
	f.Ratio = f.Ours / f.Anchor
	f.Met = f.Ratio <= 0.75
	r.add(f)
	return nil
}

// benchCommand compares a command through the proxy and the SDKs' protocol with runsc exec,
// and with a spawn inside the guest.
func benchCommand(ctx context.Context, r *report, s *server, st *stockRuntime) error {
	sb, err := s.create(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = s.kill(context.WithoutCancel(ctx), sb) }()
	if _, err := st.start(ctx, "exec"); err != nil {
		return err
	}
	defer func() { _ = st.remove(context.WithoutCancel(ctx), "exec") }()
	var ours, exec times
	for n := range r.Rounds + 3 {
		begin := time.Now()
		if _, err := s.command(ctx, sb, "true"); err != nil {
			return err
		}
		took := time.Since(begin)
		begin = time.Now()
		if err := st.runsc(ctx, "exec", "exec", "/bin/bash", "-l", "-c", "true").Run(); err != nil {
			return fmt.Errorf("runsc exec: %w", err)
		}
		if n >= 3 {
			ours, exec = append(ours, took), append(exec, time.Since(begin))
		}
	}
	// At the same pace, because a process that runs all the time stays awake and is faster.
	inside, err := s.command(ctx, sb, fmt.Sprintf(`python3 -c "
import subprocess, time
t = []
for i in range(%d):
    time.sleep(%f)
    b = time.monotonic()
    subprocess.run(['/bin/bash', '-l', '-c', 'true'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    t.append(time.monotonic() - b)
t.sort()
print(t[len(t)//2] * 1000)"`, r.Rounds+3, exec.median()/1000))
	if err != nil {
		return err
	}
	spawn, err := strconv.ParseFloat(strings.TrimSpace(inside), 64)
	if err != nil {
		return fmt.Errorf("the guest's own time: %w: %q", err, inside)
	}
	against := figure{Name: `commands.run("true")`, Unit: "ms", Ours: ours.median(), P95: ours.p95(),
		Anchor: exec.median(), Of: "runsc exec"}
	against.Ratio = against.Ours / against.Anchor
	r.add(against)
	added := figure{Name: `commands.run("true")`, Unit: "ms", Ours: ours.median(), Anchor: spawn,
		Of: "spawned inside the guest", Target: "at most +5 ms"}
	added.Difference = added.Ours - added.Anchor
	added.Met = added.Difference <= 5
	r.add(added)
	return nil
}

// command runs a shell command as the SDKs do and returns its standard output.
func (s *server) command(ctx context.Context, sb sandbox, command string) (string, error) {
	message, err := json.Marshal(map[string]any{"process": map[string]any{"cmd": "/bin/bash",
		"args": []string{"-l", "-c", command}}, "stdin": false})
	if err != nil {
		return "", err
	}
	envelope := append([]byte{0}, binary.BigEndian.AppendUint32(nil, uint32(len(message)))...)
	resp, err := s.envd(ctx, sb, "POST", "/process.Process/Start", "application/connect+json",
		bytes.NewReader(append(envelope, message...)))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var out []byte
	for {
		var head [5]byte
		if _, err := io.ReadFull(resp.Body, head[:]); err != nil {
			return "", fmt.Errorf("read an event: %w", err)
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(resp.Body, body); err != nil {
			return "", fmt.Errorf("read an event: %w", err)
		}
		if head[0]&2 != 0 {
			_, _ = io.Copy(io.Discard, resp.Body)
			return string(out), nil
		}
		var event struct {
			Event struct {
				Data struct{ Stdout, Stderr string }
				End  struct{ Error string }
			}
		}
		if err := json.Unmarshal(body, &event); err != nil {
			return "", err
		}
		chunk, _ := base64.StdEncoding.DecodeString(event.Event.Data.Stdout)
		out = append(out, chunk...)
		if event.Event.End.Error != "" {
			return "", fmt.Errorf("%s: %s", command, event.Event.End.Error)
		}
	}
}

const transferSize = 100 << 20

// benchTransfer compares uploads and downloads with a plain HTTP copy on loopback.
func benchTransfer(ctx context.Context, r *report, s *server, _ *stockRuntime) error {
	sb, err := s.create(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = s.kill(context.WithoutCancel(ctx), sb) }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	payload := bytes.Repeat([]byte("0123456789abcdef"), transferSize/16)
	// The anchor does the same work: it stores the upload in a file and sends that back.
	stored := filepath.Join(s.Dir, "transfer")
	plain := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			http.ServeFile(w, r, stored)
			return
		}
		f, err := os.Create(stored)
		if err == nil {
			_, err = io.Copy(f, r.Body)
			f.Close()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})}
	go func() { _ = plain.Serve(listener) }()
	defer plain.Close()
	base := "http://" + listener.Addr().String()
	const file = "/files?path=/home/user/transfer"
	var up, down, plainUp, plainDown times
	before := residentMemory(s.process.PID())
	measure := func(list *times, f func() (*http.Response, error)) error {
		begin := time.Now()
		resp, err := f()
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		*list = append(*list, time.Since(begin))
		return nil
	}
	for range r.Rounds {
		for _, step := range []struct {
			list *times
			f    func() (*http.Response, error)
		}{
			{&up, func() (*http.Response, error) {
				return s.envd(ctx, sb, "POST", file, "application/octet-stream", bytes.NewReader(payload))
			}},
			{&plainUp, func() (*http.Response, error) {
				return s.http.Post(base, "application/octet-stream", bytes.NewReader(payload))
			}},
			{&down, func() (*http.Response, error) { return s.envd(ctx, sb, "GET", file, "", nil) }},
			{&plainDown, func() (*http.Response, error) { return s.http.Get(base) }},
		} {
			if err := measure(step.list, step.f); err != nil {
				return err
			}
		}
	}
	rate := func(t times) float64 { return transferSize / float64(1<<20) / (t.median() / 1000) }
	for _, c := range []struct {
		name        string
		ours, plain times
	}{{"upload of 100 MB", up, plainUp}, {"download of 100 MB", down, plainDown}} {
		f := figure{Name: c.name, Unit: "MB/s", Ours: rate(c.ours), Anchor: rate(c.plain),
			Of: "HTTP copy of a file on loopback", Target: "at least × 0.5"}
		f.Ratio = f.Ours / f.Anchor
		f.Met = f.Ratio >= 0.5
		r.add(f)
	}
	grown := float64(residentMemory(s.process.PID())-before) / (1 << 20)
	r.add(figure{Name: "growth of shoal's memory over the transfers", Unit: "MiB", Ours: grown,
		Target: "flat: at most 50 MiB", Met: grown <= 50})
	return nil
}

// benchMemory keeps many sandboxes alive and measures the private memory of each.
func benchMemory(ctx context.Context, r *report, s *server, many int) error {
	var boxes []sandbox
	defer func() {
		for _, sb := range boxes {
			_ = s.kill(context.WithoutCancel(ctx), sb)
		}
	}()
	for range many {
		sb, err := s.create(ctx)
		if err != nil {
			return err
		}
		boxes = append(boxes, sb)
	}
	for _, sb := range boxes {
		if err := awaitHealth(ctx, sb.URL); err != nil {
			return fmt.Errorf("one of %d sandboxes: %w", many, err)
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
	r.add(figure{Name: fmt.Sprintf("idle private memory, each of %d alive", many), Unit: "MiB",
		Ours: float64(private) / float64(many) / (1 << 20)})
	return nil
}

// guestOf returns the ID of a sandbox's current guest. It cannot be derived from the
// sandbox's, because the guest or its kernel may have been started ahead.
func (s *server) guestOf(sb sandbox) (string, error) {
	data, err := os.ReadFile(filepath.Join(s.RunDir, "sandboxes", sb.ID+".json"))
	if err != nil {
		return "", err
	}
	var record struct{ GuestID string }
	return record.GuestID, json.Unmarshal(data, &record)
}

// privateOf sums the private pages of a guest's kernel and stubs, in bytes.
func privateOf(group string) (total int64) {
	data, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	for _, pid := range strings.Fields(string(data)) {
		total += sumKB("/proc/"+pid+"/smaps_rollup", "Private_Clean:", "Private_Dirty:")
	}
	return total
}

// guestGroups returns the cgroups of the guests whose IDs match.
func guestGroups(pattern string) []string {
	for _, root := range []string{"/sys/fs/cgroup/memory/bench/", "/sys/fs/cgroup/bench/"} {
		if groups, _ := filepath.Glob(root + pattern); len(groups) > 0 {
			return groups
		}
	}
	return nil
}

func residentMemory(pid int) int64 { return sumKB(fmt.Sprintf("/proc/%d/status", pid), "VmRSS:") }

// sumKB adds the values of named "kB" lines, in bytes.
func sumKB(file string, names ...string) int64 {
	data, _ := os.ReadFile(file)
	var total int64
	for _, line := range strings.Split(string(data), "\n") {
		fields := strings.Fields(line)
		for _, name := range names {
			if len(fields) > 1 && fields[0] == name {
				kb, _ := strconv.ParseInt(fields[1], 10, 64)
				total += kb << 10
			}
		}
	}
	return total
}
