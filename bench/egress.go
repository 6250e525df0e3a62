package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The clients run in sandboxes.
var (
	//go:embed egress_connect.py
	connectClient string
	//go:embed egress_requests.mjs
	requestsClient string
)

// way is one way from a sandbox to the server.
type way struct {
	name    string
	sandbox sandbox
	// at is HOST:PORT that a client dials.
	at string
}

// ways are the plain one, which only the host's kernel has to do with, ours, and nginx's where there is one.
type ways struct {
	all []way
	end func()
}

// The anchors, as figures name them.
const (
	plainWay = "plain path"
	ourWay   = "Shoal"
	nginxWay = "nginx"
)

// openWays makes a sandbox without rules and one with the network, and nginx. port is the server's.
func (b *bench) openWays(ctx context.Context, s *server, network string, port int) (_ *ways, err error) {
	w := &ways{}
	var ends []func()
	w.end = func() {
		for _, end := range slices.Backward(ends) {
			end()
		}
	}
	defer func() {
		if err != nil {
			w.end()
		}
	}()
	for _, of := range []struct{ name, network string }{{plainWay, "{}"}, {ourWay, network}} {
		var sb sandbox
		body := fmt.Sprintf(`{"templateID":"base","timeout":3600,"network":%s}`, of.network)
		if err := s.call(ctx, "POST", "/v2/sandboxes", body, 201, &sb); err != nil {
			return nil, err
		}
		ends = append(ends, func() { _ = s.kill(context.WithoutCancel(ctx), sb) })
		w.all = append(w.all, way{of.name, sb, fmt.Sprintf("%s:%d", serverAddress, port)})
	}
	dir, err := b.dirOfAnchors()
	if err != nil {
		return nil, err
	}
	x, err := startNginx(ctx, dir, s.beside.internet, "shoal-bench")
	switch {
	case errors.Is(err, errMissing):
		b.note("nginx, an anchor of %s, %v.", b.row, err)
		return w, nil
	case err != nil:
		return nil, err
	}
	ends = append(ends, x.stop)
	at := x.stream
	if port == 443 {
		at = x.tls
	}
	w.all = append(w.all, way{nginxWay, w.all[0].sandbox, fmt.Sprintf("%s:%d", gatewayAddress, at)})
	return w, nil
}

// byTurns measures each way once a round, and begins each round with another one.
func (w *ways) byTurns(rounds int, measure func(way) error) error {
	for round := range rounds {
		for i := range w.all {
			way := w.all[(round+i)%len(w.all)]
			if err := measure(way); err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
		}
	}
	return nil
}

// onlyServer allows the server's name and nothing else.
const onlyServer = `{"allowOut":["` + serverName + `"],"denyOut":["0.0.0.0/0"]}`

// setsHeader is a transform of the server's name.
const setsHeader = `{"rules":{"` + serverName + `":[{"transform":{"headers":{"X-Key":"value"}}}]}}`

// benchNamePath compares what a sandbox with rules about names moves with what others do.
func benchNamePath(ctx context.Context, b *bench, s *server) error {
	w, err := b.openWays(ctx, s, onlyServer, 80)
	if err != nil {
		return err
	}
	defer w.end()
	for _, c := range []struct{ name, options string }{
		{"download", "-o /dev/null"},
		{"upload", "-T /dev/shm/big -H Expect: -H Transfer-Encoding: -o /dev/null"},
	} {
		rates := map[string][]float64{}
		err := w.byTurns(b.Rounds, func(way way) error {
			line := fmt.Sprintf("test -e /dev/shm/big || head -c %d /dev/zero > /dev/shm/big; curl -sf -m 60 -H Host:%s -w '%%{time_total}' %s http://%s/big",
				egressSize, serverName, c.options, way.at)
			out, err := s.command(ctx, way.sandbox, line)
			if err != nil {
				return err
			}
			var seconds float64
			if _, err := fmt.Sscan(out, &seconds); err != nil {
				return fmt.Errorf("%s: %q", line, out)
			}
			rates[way.name] = append(rates[way.name], egressSize/float64(1<<20)/seconds)
			return nil
		})
		if err != nil {
			return err
		}
		b.compareWays(c.name+" of 100 MB by name", "MB/s", rates, ratioAtLeast(0.6))
	}
	return nil
}

// compareWays adds a figure for each anchor, of which the target is about the plain way's.
func (b *bench) compareWays(name, unit string, of map[string][]float64, wanted target) {
	for _, anchor := range []string{plainWay, nginxWay} {
		if len(of[anchor]) == 0 {
			continue
		}
		f := figure{Name: name, Unit: unit, Ours: middle(of[ourWay]), Anchor: middle(of[anchor]), Of: anchor,
			Samples: of[ourWay], AnchorSamples: of[anchor]}
		f.Ratio = f.Ours / f.Anchor
		if anchor == plainWay {
			b.add(f, wanted)
		} else {
			b.add(f)
		}
	}
}

// connectsARound is how many connections a round has.
const connectsARound = 50

// benchNameConnect compares how long it takes from a connect to the first byte of an answer.
func benchNameConnect(ctx context.Context, b *bench, s *server) error {
	w, err := b.openWays(ctx, s, onlyServer, 80)
	if err != nil {
		return err
	}
	defer w.end()
	took := map[string]times{}
	err = w.byTurns(b.Rounds, func(way way) error {
		var list []int64 // ns
		if err := s.client(ctx, way, "python3 -", connectClient, connectsARound, &list); err != nil {
			return err
		}
		for _, ns := range list {
			took[way.name] = append(took[way.name], time.Duration(ns))
		}
		return nil
	})
	if err != nil {
		return err
	}
	const name = "new connection by name, to the first byte"
	b.adds(name, took[ourWay], took[plainWay], plainWay, 1500)
	if x := took[nginxWay]; len(x) > 0 {
		f := figure{Name: name, Unit: "µs", Ours: 1000 * took[ourWay].median(), P95: 1000 * took[ourWay].p95(),
			Anchor: 1000 * x.median(), Of: nginxWay}
		f.Difference = f.Ours - f.Anchor
		b.add(f)
	}
	return nil
}

// requestsARound is how many requests are counted in a round, by requestClients at once.
const (
	requestsARound = 1000
	requestClients = 8
)

// benchTransform compares requests a second with a header set on their way with those of a TLS
// connection that goes through as it is.
func benchTransform(ctx context.Context, b *bench, s *server) error {
	w, err := b.openWays(ctx, s, setsHeader, 443)
	if err != nil {
		return err
	}
	defer w.end()
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
		rates := map[string][]float64{}
		err := w.byTurns(b.Rounds, func(way way) error {
			var seconds float64
			if err := s.client(ctx, way, "node --input-type=module - "+protocol, requestsClient, requestsARound, &seconds); err != nil {
				return err
			}
			rates[way.name] = append(rates[way.name], requestsARound/seconds)
			return nil
		})
		if err != nil {
			return err
		}
		b.compareWays("requests by "+protocol+" with a transform", "/s", rates, ratioAtLeast(0.4))
	}
	return nil
}

// client runs a client in a way's sandbox, which prints JSON. Its arguments are the way, the
// server's name, how often, and how many at once.
func (s *server) client(ctx context.Context, w way, program, text string, count int, result any) error {
	host, port, _ := strings.Cut(w.at, ":")
	line := fmt.Sprintf("%s %s %s %s %d %d <<'END'\n%s\nEND", program, host, port, serverName, count, requestClients, text)
	out, err := s.command(ctx, w.sandbox, line)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), result); err != nil {
		return fmt.Errorf("%s: %w: %q", program, err, out)
	}
	return nil
}
