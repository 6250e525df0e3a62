package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	now := time.Now().UTC().Truncate(time.Minute)
	var samples []shoal.Metrics
	for i := range 12 { // a minute, every 5 s, ending now
		samples = append(samples, shoal.Metrics{Time: now.Add(time.Duration(i-11) * 5 * time.Second), CPUCount: 2,
			CPUUsedPct: float64(i), MemUsed: 100, MemTotal: 200, MemCache: 50, DiskUsed: 1, DiskTotal: 2})
	}
	w.node.PutMetrics(id, samples...)
	get := func(query string) []map[string]any {
		r := w.call("GET", "/sandboxes/"+id+"/metrics"+query, "")
		r.wants(t, 200, "")
		var rows []map[string]any
		r.json(t, &rows)
		return rows
	}
	all := get("")
	if len(all) != 12 || all[0]["cpuUsedPct"] != 0.0 || all[11]["timestampUnix"] != float64(now.Unix()) {
		t.Errorf("%v", all)
	}
	for _, key := range []string{"timestamp", "timestampUnix", "cpuCount", "cpuUsedPct", "memUsed", "memTotal", "memCache", "diskUsed", "diskTotal"} {
		if all[0][key] == nil {
			t.Errorf("%s is absent", key)
		}
	}
	if some := get(fmt.Sprintf("?start=%d&end=%d", now.Unix()-10, now.Unix()-5)); len(some) != 2 {
		t.Errorf("%v", some)
	}
	if past := get("?start=1&end=2"); len(past) != 0 {
		t.Errorf("%v", past)
	}
	if coarse := get(fmt.Sprintf("?start=%d", now.Unix()-2*3600)); len(coarse) < 2 || len(coarse) > 4 || coarse[len(coarse)-1]["cpuUsedPct"] != 11.0 {
		t.Errorf("%v", coarse)
	}
	w.call("GET", "/sandboxes/"+id+"/metrics?start=2&end=1", "").wants(t, 400, "Invalid time range for metrics")
	w.call("GET", "/sandboxes/"+id+"/metrics?start=-1", "").wants(t, 400, validationPrefix)
	for _, c := range [][2]string{{"iunknown", shoal.DevAPIKey}, {id, otherKey}} {
		if r := w.call("GET", "/sandboxes/"+c[0]+"/metrics", "", "X-API-Key", c[1]); r.status != 200 || strings.TrimSpace(r.body) != "[]" {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
}

func TestLatestMetrics(t *testing.T) {
	w := newWorld(t)
	a, b := w.create(`{"templateID":"base"}`), w.create(`{"templateID":"base"}`)
	now := time.Now()
	w.node.PutMetrics(a, shoal.Metrics{Time: now.Add(-5 * time.Second), MemUsed: 1}, shoal.Metrics{Time: now, MemUsed: 2})
	r := w.call("GET", "/sandboxes/metrics?sandbox_ids="+a+","+b+",iunknown", "")
	r.wants(t, 200, "")
	var got struct {
		Sandboxes map[string]struct{ MemUsed int64 }
	}
	r.json(t, &got)
	if len(got.Sandboxes) != 1 || got.Sandboxes[a].MemUsed != 2 {
		t.Error(r.body)
	}
	if r := w.call("GET", "/sandboxes/metrics?sandbox_ids="+a, "", "X-API-Key", otherKey); strings.Contains(r.body, a) {
		t.Error(r.body)
	}
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprint("i", i))
	}
	w.call("GET", "/sandboxes/metrics?sandbox_ids="+strings.Join(many, ","), "").wants(t, 400, "Too many sandboxes requested, maximum is 100")
	w.call("GET", "/sandboxes/metrics", "").wants(t, 400, validationPrefix)
	w.call("GET", "/sandboxes/metrics?sandbox_ids=i1,i1", "").wants(t, 400, validationPrefix)
	w.call("GET", "/sandboxes/metrics?sandbox_ids=i1,I2", "").wants(t, 400, "Invalid sandbox ID")
}
