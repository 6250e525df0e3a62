package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const transferSize = 100 << 20

// benchTransfer compares uploads and downloads with a plain HTTP copy on loopback.
func benchTransfer(ctx context.Context, b *bench, s *server) error {
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
	var up, down, plainUp, plainDown, upWork, downWork, plainUpWork, plainDownWork times
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
	for range b.Rounds {
		for _, step := range []struct {
			list, work *times
			f          func() (*http.Response, error)
		}{
			{&up, &upWork, func() (*http.Response, error) {
				return s.envd(ctx, sb, "POST", file, "application/octet-stream", bytes.NewReader(payload))
			}},
			{&plainUp, &plainUpWork, func() (*http.Response, error) {
				return s.http.Post(base, "application/octet-stream", bytes.NewReader(payload))
			}},
			{&down, &downWork, func() (*http.Response, error) { return s.envd(ctx, sb, "GET", file, "", nil) }},
			{&plainDown, &plainDownWork, func() (*http.Response, error) { return s.http.Get(base) }},
		} {
			if err := step.work.worked(1, func() error { return measure(step.list, step.f) }); err != nil {
				return err
			}
		}
	}
	rate := func(t times) float64 { return transferSize / float64(1<<20) / (t.median() / 1000) }
	for _, c := range []struct {
		name                         string
		ours, plain, work, plainWork times
	}{
		{"upload of 100 MB", up, plainUp, upWork, plainUpWork},
		{"download of 100 MB", down, plainDown, downWork, plainDownWork},
	} {
		f := figure{Name: c.name, Unit: "MB/s", Ours: rate(c.ours), Anchor: rate(c.plain),
			Of: "HTTP copy of a file on loopback"}
		f.Ratio = f.Ours / f.Anchor
		b.add(f, ratioAtLeast(0.6))
		b.compare("processors' time for it", c.work, c.plainWork, f.Of)
	}
	grown := float64(residentMemory(s.process.PID())-before) / (1 << 20)
	b.add(figure{Name: "growth of shoal's memory over the transfers", Unit: "MiB", Ours: grown},
		target{"flat: at most 50 MiB", func(f figure) bool { return f.Ours <= 50 }})
	return nil
}
