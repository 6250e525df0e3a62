package api

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	now := time.Now().UTC().Truncate(time.Minute)
	var samples []shoal.Sample
	for i := range 12 { // a minute, every 5 s, ending now
		samples = append(samples, shoal.Sample{Metrics: shoal.Metrics{Time: now.Add(time.Duration(i-11) * 5 * time.Second),
			CPUCount: 2, CPUUsedPct: float64(i), MemUsed: 100, MemTotal: 200, MemCache: 50, DiskUsed: 1, DiskTotal: 2},
			Host: shoal.HostUse{CPUUsedPct: 7, MemBytes: 77, HeldBytes: 70, DiskBytes: 7}})
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
	if all[0]["hostCpuUsedPct"] != nil || all[0]["host"] != nil {
		t.Errorf("a tenant reads what the machine sees: %v", all[0])
	}
	w.call("GET", "/sandboxes/"+id+"/metrics?start=2&end=1", "").wants(t, 400, "Invalid time range for metrics")
	w.call("GET", "/sandboxes/"+id+"/metrics?start=-1", "").wants(t, 400, validationPrefix)
	w.call("GET", fmt.Sprintf("/sandboxes/%s/metrics?start=%d", id, now.Unix()+3600), "").
		wants(t, 400, "Invalid time range for metrics")
	if future := get(fmt.Sprintf("?start=1&end=%d", int64(math.MaxInt64))); len(future) != 12 {
		t.Errorf("%v", future)
	}
	for _, c := range [][2]string{{"iunknown", shoal.DevAPIKey}, {id, otherKey}} {
		if r := w.call("GET", "/sandboxes/"+c[0]+"/metrics", "", "X-API-Key", c[1]); r.status != 200 || strings.TrimSpace(r.body) != "[]" {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	w.call("DELETE", "/sandboxes/"+id, "").wants(t, 204, "")
	if after := get(""); len(after) != 12 {
		t.Errorf("after the sandbox's end: %v", after)
	}
	if r := w.call("GET", "/sandboxes/"+id+"/metrics", "", "X-API-Key", otherKey); strings.TrimSpace(r.body) != "[]" {
		t.Errorf("another team, after its end: %s", r.body)
	}
}

// TestHostMetrics: an operator sees a sandbox of any team as its machine does, also while the
// guest is silent; a tenant is refused.
func TestHostMetrics(t *testing.T) {
	w := newWorld(t)
	id, now := w.create(`{"templateID":"base"}`, "X-API-Key", otherKey), time.Now().UTC()
	host := shoal.HostUse{CPUUsedPct: 12.5, MemBytes: 300, HeldBytes: 200, DiskBytes: 100}
	w.node.PutMetrics(id, shoal.Sample{Metrics: shoal.Metrics{Time: now.Add(-5 * time.Second), CPUCount: 2}, Host: host},
		shoal.Sample{Metrics: shoal.Metrics{Time: now}, Host: host})
	path := "/admin/sandboxes/" + id + "/metrics"
	r := w.call("GET", path, "", "X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken)
	r.wants(t, 200, "")
	var rows []map[string]any
	r.json(t, &rows)
	if len(rows) != 2 || rows[1]["hostCpuUsedPct"] != 12.5 || rows[1]["hostMemBytes"] != 300.0 ||
		rows[1]["hostMemHeldBytes"] != 200.0 || rows[1]["hostDiskBytes"] != 100.0 ||
		rows[0]["guest"] == nil || rows[1]["guest"] != nil {
		t.Errorf("%v", rows)
	}
	w.call("GET", path, "", "X-API-Key", otherKey).wants(t, 401, "")
}

func TestLatestMetrics(t *testing.T) {
	w := newWorld(t)
	a, b := w.create(`{"templateID":"base"}`), w.create(`{"templateID":"base"}`)
	now := time.Now()
	w.node.PutMetrics(a, shoal.Sample{Metrics: shoal.Metrics{Time: now.Add(-5 * time.Second), MemUsed: 1}},
		shoal.Sample{Metrics: shoal.Metrics{Time: now, MemUsed: 2}})
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
