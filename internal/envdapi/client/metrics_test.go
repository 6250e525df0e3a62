package client

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"shoal/internal/envdapi"
)

// TestMetricsThatNoGuestHas: they are not passed on.
func TestMetricsThatNoGuestHas(t *testing.T) {
	const good = `{"cpu_count":2,"cpu_used_pct":7.5,"mem_total":100,"mem_used":50,"mem_cache":9,` +
		`"disk_total":1000,"disk_used":10}`
	var answer atomic.Value
	daemon := startImpostor(t, "127.49.98.64", func(conn io.Writer) { fmt.Fprint(conn, jsonHead, answer.Load()) })
	for change, want := range map[string]bool{
		"":                                                    true,
		`"cpu_count":2 "cpu_count":-1`:                        false,
		`"cpu_count":2 "cpu_count":0`:                         false,
		`"cpu_count":2 "cpu_count":1000000`:                   false,
		`"cpu_used_pct":7.5 "cpu_used_pct":-0.1`:              false,
		`"cpu_used_pct":7.5 "cpu_used_pct":200.1`:             false,
		`"cpu_used_pct":7.5 "cpu_used_pct":1e300`:             false,
		`"cpu_used_pct":7.5 "cpu_used_pct":1e999`:             false,
		`"mem_used":50 "mem_used":101`:                        false,
		`"mem_used":50 "mem_used":-50`:                        false,
		`"mem_total":100 "mem_total":1e19`:                    false,
		`"mem_cache":9 "mem_cache":` + "9876543210987654321":  false,
		`"disk_total":1000 "disk_total":18446744073709551615`: false,
		`"disk_used":10 "disk_used":1001`:                     false,
	} {
		old, changed, _ := strings.Cut(change, " ")
		answer.Store(strings.Replace(good, old, changed, 1))
		m, err := New(daemon.host, "").Metrics(patient(t))
		if (err == nil) != want || want && m.MemUsed != 50 {
			t.Errorf("%s: %+v, error %v", change, m, err)
		}
	}
}

// BenchmarkMetrics is one question by a connection of its own, and its answer: the cost of both
// ends, of which the node has one.
func BenchmarkMetrics(b *testing.B) {
	daemon := startDaemon(b, "127.49.98.65", envdapi.Facts{})
	for b.Loop() {
		if _, err := New(daemon.host, "").Metrics(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
