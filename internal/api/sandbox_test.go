package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/internal/auth"
	"shoal/internal/shoal"
)

// put makes a sandbox of the development team exist.
func (w *world) put(id string, change func(*shoal.Sandbox)) {
	sb := shoal.Sandbox{Spec: shoal.Spec{SandboxID: id, TeamID: shoal.DevTeamID, TemplateID: "base", BuildID: readyBuild,
		EnvdVersion: "0.6.13", MaxLength: 24 * time.Hour, Resources: shoal.Resources{CPUCount: 2, MemoryMB: 1024, DiskMB: 10240}},
		State: shoal.StateRunning, StartedAt: time.Now().UTC(), EndAt: time.Now().UTC().Add(time.Hour)}
	if change != nil {
		change(&sb)
	}
	w.node.Put(sb)
}

func TestSandboxIsInvisibleToOthers(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	routes := [][3]string{{"GET", "", ""}, {"DELETE", "", ""}, {"POST", "/connect", `{"timeout":1}`}, {"POST", "/timeout", `{"timeout":1}`},
		{"POST", "/refreshes", "{}"}, {"PUT", "/network", "{}"}, {"POST", "/pause", "{}"}, {"POST", "/resume", "{}"},
		{"POST", "/fork", "{}"}, {"POST", "/snapshots", "{}"}}
	for _, rt := range routes {
		path := "/sandboxes/" + id + rt[1]
		w.call(rt[0], path, rt[2], "X-API-Key", otherKey).wants(t, 404, fmt.Sprintf("Sandbox %q doesn't exist or you don't have access to it", id))
		w.call(rt[0], "/sandboxes/not-found"+rt[1], rt[2]).wants(t, 404, `Sandbox "not" doesn't exist or you don't have access to it`)
	}
	w.call("POST", "/v2/sandboxes/"+id+"/connect", "", "X-API-Key", otherKey).wants(t, 404, "doesn't exist")
	w.call("GET", "/sandboxes/"+id, "").wants(t, 200, "")
	for _, path := range []string{"/sandboxes", "/v2/sandboxes"} {
		if r := w.call("GET", path, "", "X-API-Key", otherKey); strings.TrimSpace(r.body) != "[]" {
			t.Errorf("%s shows another team %s", path, r.body)
		}
	}
}

func TestGetSandbox(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base","timeout":60}`)
	for _, path := range []string{id, id + "-6532622b"} {
		r := w.call("GET", "/sandboxes/"+path, "")
		r.wants(t, 200, "")
		var d map[string]any
		r.json(t, &d)
		for _, key := range []string{"templateID", "sandboxID", "clientID", "startedAt", "endAt", "cpuCount", "memoryMB", "diskSizeMB",
			"state", "envdVersion", "envdAccessToken", "envdURL", "hostAddress", "lifecycle", "volumeMounts", "alias"} {
			if d[key] == nil {
				t.Errorf("%s is absent or null in %s", key, r.body)
			}
		}
		for _, key := range []string{"network", "metadata", "allowInternetAccess", "domain"} {
			if _, ok := d[key]; ok {
				t.Errorf("%s is present in %s", key, r.body)
			}
		}
		start, err1 := time.Parse(time.RFC3339, d["startedAt"].(string))
		end, err2 := time.Parse(time.RFC3339, d["endAt"].(string))
		if err1 != nil || err2 != nil || end.Sub(start) != time.Minute || !strings.HasSuffix(d["startedAt"].(string), "Z") {
			t.Errorf("times %v %v", d["startedAt"], d["endAt"])
		}
	}
}

func TestPublicStates(t *testing.T) {
	w := newWorld(t)
	w.put("i1", func(sb *shoal.Sandbox) { sb.TemplateID = "t" })
	cases := map[shoal.State]struct {
		get    int
		state  string
		listed bool
	}{
		shoal.StateRunning: {200, "running", true}, shoal.StatePausing: {200, "paused", true}, shoal.StatePaused: {200, "paused", true},
		shoal.StateResuming: {200, "paused", true}, shoal.StateSnapshotting: {200, "running", true},
		shoal.StateKilling: {404, "", false}, shoal.StateCreating: {404, "", false},
	}
	for state, c := range cases {
		t.Run(string(state), func(t *testing.T) {
			w.put("i1", func(sb *shoal.Sandbox) { sb.State = state })
			r := w.call("GET", "/sandboxes/i1", "")
			r.wants(t, c.get, "")
			if c.get == 200 && r.field(t, "state") != c.state {
				t.Error(r.body)
			}
			if got := strings.Contains(w.call("GET", "/v2/sandboxes", "").body, `"i1"`); got != c.listed {
				t.Errorf("listed: %v", got)
			}
			if got := strings.Contains(w.call("GET", "/sandboxes", "").body, `"i1"`); got != (c.state == "running") {
				t.Errorf("listed by v1: %v", got)
			}
		})
	}
}

func TestKill(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	w.call("DELETE", "/sandboxes/"+id, "").wants(t, 204, "")
	if w.node.Killed(id) != shoal.KillRequest {
		t.Errorf("reason %q", w.node.Killed(id))
	}
	w.call("DELETE", "/sandboxes/"+id, "").wants(t, 404, "doesn't exist")
	w.call("GET", "/sandboxes/"+id, "").wants(t, 404, "doesn't exist")
	w.put("idying", func(sb *shoal.Sandbox) { sb.State = shoal.StateKilling })
	w.call("DELETE", "/sandboxes/idying", "").wants(t, 204, "")
	id = w.create(`{"templateID":"base"}`)
	w.call("DELETE", "/sandboxes/"+id+"-6532622b", "").wants(t, 204, "")
}

func endOf(t *testing.T, w *world, id string) time.Time {
	t.Helper()
	end, err := time.Parse(time.RFC3339, w.call("GET", "/sandboxes/"+id, "").field(t, "endAt").(string))
	if err != nil {
		t.Fatal(err)
	}
	return end
}

func TestDeadlines(t *testing.T) {
	w := newWorld(t)
	cases := map[string]struct {
		path, body string
		status     int
		want       time.Duration // from now; 0 is "unchanged" (one hour)
	}{
		"timeout shortens":           {"/sandboxes/%s/timeout", `{"timeout":10}`, 204, 10 * time.Second},
		"timeout lengthens":          {"/sandboxes/%s/timeout", `{"timeout":7200}`, 204, 2 * time.Hour},
		"timeout is clamped":         {"/sandboxes/%s/timeout", `{"timeout":999999}`, 204, 24 * time.Hour},
		"timeout now":                {"/sandboxes/%s/timeout", `{"timeout":0}`, 204, time.Nanosecond},
		"refresh does not shorten":   {"/sandboxes/%s/refreshes", `{"duration":0}`, 204, 0},
		"refresh lengthens":          {"/sandboxes/%s/refreshes", `{"duration":3600}`, 204, time.Hour},
		"connect does not shorten":   {"/sandboxes/%s/connect", `{"timeout":10}`, 200, 0},
		"connect lengthens":          {"/sandboxes/%s/connect", `{"timeout":7200}`, 200, 2 * time.Hour},
		"connect v2 without a body":  {"/v2/sandboxes/%s/connect", ``, 200, 0},
		"connect v2 with {}":         {"/v2/sandboxes/%s/connect", `{}`, 200, 0},
		"connect v2 memory of a run": {"/v2/sandboxes/%s/connect", `{"memory":false}`, 200, 0},
		"connect v2 lengthens":       {"/v2/sandboxes/%s/connect", `{"timeout":7200}`, 200, 2 * time.Hour},
		"timeout missing":            {"/sandboxes/%s/timeout", `{}`, 400, 0},
		"timeout without a body":     {"/sandboxes/%s/timeout", ``, 400, 0},
		"timeout negative":           {"/sandboxes/%s/timeout", `{"timeout":-1}`, 400, 0},
		"refresh too long":           {"/sandboxes/%s/refreshes", `{"duration":3601}`, 400, 0},
		"connect without timeout":    {"/sandboxes/%s/connect", `{}`, 400, 0},
		"connect without a body":     {"/sandboxes/%s/connect", ``, 400, 0},
		"connect too long":           {"/sandboxes/%s/connect", `{"timeout":259200}`, 400, 0},
		"connect v2 too long":        {"/v2/sandboxes/%s/connect", `{"timeout":259200}`, 400, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			id := w.create(`{"templateID":"base","timeout":3600}`)
			before := endOf(t, w, id)
			r := w.call("POST", fmt.Sprintf(c.path, id), c.body)
			r.wants(t, c.status, "")
			if r.status == 200 && (r.field(t, "sandboxID") != id || r.field(t, "envdAccessToken") == nil) {
				t.Error(r.body)
			}
			after := endOf(t, w, id)
			if c.want == 0 && !after.Equal(before) {
				t.Errorf("the end moved by %v", after.Sub(before))
			}
			if off := time.Until(after) - c.want; c.want != 0 && (off > time.Second || off < -10*time.Second) {
				t.Errorf("the end is %v off", off)
			}
		})
	}
	w.call("POST", "/v2/sandboxes/iunknown/connect", `{"timeout":259200}`).wants(t, 400, "Timeout cannot be greater than 24 hours")
	short := w.create(`{"templateID":"base","timeout":1}`)
	w.call("POST", "/sandboxes/"+short+"/refreshes", "").wants(t, 204, "")
	if left := time.Until(endOf(t, w, short)); left < 10*time.Second {
		t.Errorf("a refresh left %v", left)
	}
}

func TestDeadlineStates(t *testing.T) {
	w := newWorld(t)
	w.put("ikilling", func(sb *shoal.Sandbox) { sb.State = shoal.StateKilling })
	w.put("ipausing", func(sb *shoal.Sandbox) { sb.State = shoal.StatePausing })
	w.put("ipaused", func(sb *shoal.Sandbox) { sb.State = shoal.StatePaused })
	w.call("POST", "/v2/sandboxes/ikilling/connect", "").wants(t, 409, `Sandbox "ikilling" is being killed`)
	w.call("POST", "/sandboxes/ikilling/timeout", `{"timeout":1}`).wants(t, 409, "is being killed")
	w.call("POST", "/sandboxes/ipausing/timeout", `{"timeout":1}`).wants(t, 409, `Sandbox "ipausing" is being paused`)
	w.call("POST", "/sandboxes/ipaused/timeout", `{"timeout":1}`).wants(t, 404, "doesn't exist")
	w.call("POST", "/sandboxes/ipaused/refreshes", ``).wants(t, 404, "doesn't exist")
	w.call("PUT", "/sandboxes/ipausing/network", `{}`).wants(t, 409, "")
}

func TestSetNetwork(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base","allow_internet_access":false,"network":{"denyOut":["8.8.8.8"],"maskRequestHost":"h"}}`)
	path := "/sandboxes/" + id + "/network"
	w.call("PUT", path, `{"allowOut":["1.1.1.1"],"denyOut":["0.0.0.0/0"],"egressProxy":null,"rules":{}}`).wants(t, 204, "")
	if got := w.node.Network(id); len(got.AllowOut) != 1 || len(got.DenyOut) != 1 || got.AllowInternet != nil {
		t.Errorf("%+v", got)
	}
	w.call("PUT", path, `{}`).wants(t, 204, "")
	if got := w.node.Network(id); len(got.AllowOut)+len(got.DenyOut) != 0 || got.AllowInternet != nil {
		t.Errorf("an empty update left %+v", got)
	}
	w.call("PUT", path, `{"allow_internet_access":true}`).wants(t, 204, "")
	detail := w.call("GET", "/sandboxes/"+id, "")
	network, _ := json.Marshal(detail.field(t, "network"))
	if detail.field(t, "allowInternetAccess") != true || string(network) != `{"allowPublicTraffic":true,"maskRequestHost":"h"}` {
		t.Error(detail.body)
	}
	for body, want := range map[string]string{`{"denyOut":["nonsense"]}`: "invalid denied CIDR nonsense", `{"denyOut":[1]}`: validationPrefix,
		``: validationPrefix, `{"rules":{"x.example":[{},{}]}}`: `Domain "x.example" can have at most 1 transform rule.`} {
		w.call("PUT", path, body).wants(t, 400, want)
	}
	w.call("PUT", path, `{"egressProxy":{"address":"p:99999"}}`).wants(t, 400, "Invalid egress proxy config: port must be between 1 and 65535")
}

// TestEgressProxyShown: a proxy is shown without what is secret, and goes with the next update.
func TestEgressProxyShown(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base","network":{"egressProxy":{"address":"Proxy.Example:1080","username":"me","password":"hidden",` +
		`"tls":{"enabled":true,"serverName":"proxy.example"}}}}`)
	shown := func() string {
		t.Helper()
		network, _ := json.Marshal(w.call("GET", "/sandboxes/"+id, "").field(t, "network"))
		return string(network)
	}
	want := `{"allowPublicTraffic":true,"egressProxy":{"address":"proxy.example:1080","tls":{"enabled":true,"serverName":"proxy.example"},"username":"me"}}`
	if got := shown(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if sb, err := w.node.Get(t.Context(), id); err != nil || sb.Network.EgressProxy.Password != "hidden" {
		t.Errorf("the machine has %+v, %v", sb.Network.EgressProxy, err)
	}
	w.call("PUT", "/sandboxes/"+id+"/network", `{"egressProxy":{"address":"other.example:1080"}}`).wants(t, 204, "")
	if got := shown(); strings.Contains(got, "tls") || !strings.Contains(got, "other.example:1080") {
		t.Error(got)
	}
	w.call("PUT", "/sandboxes/"+id+"/network", `{"egressProxy":null}`).wants(t, 204, "")
	if got := shown(); got != "null" {
		t.Error(got)
	}
	w.call("GET", "/sandboxes/"+id+"/egress", "").wants(t, 200, "[]")
	w.call("GET", "/sandboxes/"+id+"/egress?start=20&end=10", "").wants(t, 400, "Invalid time range for connections")
	w.operate("PUT", "/admin/switches/egress-proxies", `{"on":false}`).wants(t, 200, "")
	w.call("POST", "/sandboxes", `{"templateID":"base","network":{"egressProxy":{"address":"p:1"}}}`).
		wants(t, 403, "Egress proxy (network.egressProxy) is not enabled for this team.")
	w.call("PUT", "/sandboxes/"+id+"/network", `{"egressProxy":{"address":"p:1"}}`).
		wants(t, 403, "Egress proxy (egressProxy) is not enabled for this team.")
}

// TestDNSServers: they are kept as they were sent, and shown; none is not the same as no word.
func TestDNSServers(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base","network":{"dnsServers":["1.1.1.1"]}}`)
	shown := func(want string) {
		t.Helper()
		network, _ := json.Marshal(w.call("GET", "/sandboxes/"+id, "").field(t, "network"))
		if string(network) != want {
			t.Errorf("network %s, want %s", network, want)
		}
	}
	shown(`{"allowPublicTraffic":true,"dnsServers":["1.1.1.1"]}`)
	path := "/sandboxes/" + id + "/network"
	w.call("PUT", path, `{"dnsServers":[]}`).wants(t, 204, "")
	shown(`{"allowPublicTraffic":true,"dnsServers":[]}`)
	w.call("PUT", path, `{"dnsServers":["9.9.9.9","149.112.112.112"]}`).wants(t, 204, "")
	eleven := strings.TrimSuffix(strings.Repeat(`"8.8.8.8",`, 11), ",")
	for list, message := range map[string]string{`["x"]`: "not an IPv4 address", `["::1"]`: "not an IPv4 address", `["8.8.8.8:53"]`: "not an IPv4 address",
		`["::ffff:8.8.8.8"]`: "not an IPv4 address", `["8.8.8.0/24"]`: "not an IPv4 address", `[` + eleven + `]`: "at most 10", `"8.8.8.8"`: validationPrefix} {
		w.call("PUT", path, `{"dnsServers":`+list+`}`).wants(t, 400, message)
		w.call("POST", "/v2/sandboxes", `{"templateID":"base","network":{"dnsServers":`+list+`}}`).wants(t, 400, message)
	}
	shown(`{"allowPublicTraffic":true,"dnsServers":["9.9.9.9","149.112.112.112"]}`)
	w.call("PUT", path, `{}`).wants(t, 204, "")
	shown(`null`)
}

// TestPublicTrafficOfNoWord: null is as if it were left out.
func TestPublicTrafficOfNoWord(t *testing.T) {
	w := newWorld(t)
	r := w.call("POST", "/v2/sandboxes", `{"templateID":"base","network":{"allowPublicTraffic":null}}`)
	r.wants(t, 201, "")
	if strings.Contains(r.body, "trafficAccessToken") {
		t.Error(r.body)
	}
}

func TestLogsAreEmpty(t *testing.T) {
	w := newWorld(t)
	for path, want := range map[string]string{"/sandboxes/iany/logs?start=5&limit=1000": `{"logEntries":[],"logs":[]}`,
		"/v2/sandboxes/iany/logs?cursor=1&direction=forward&level=warn&search=x": `{"logs":[]}`} {
		if r := w.call("GET", path, ""); r.status != 200 || strings.TrimSpace(r.body) != want {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	for _, query := range []string{"limit=1001", "direction=up", "level=loud", "search=" + strings.Repeat("x", 257)} {
		w.call("GET", "/v2/sandboxes/iany/logs?"+query, "").wants(t, 400, validationPrefix)
	}
	w.call("GET", "/sandboxes/BAD/logs", "").wants(t, 400, "Invalid sandbox ID")
}

func TestLogs(t *testing.T) {
	w := newWorld(t)
	at := func(n int64) time.Time { return time.UnixMilli(n).UTC() }
	w.node.PutLog("ione", shoal.DevTeamID,
		shoal.LogEntry{Time: at(1000), Level: shoal.LogInfo, Message: "first", Fields: map[string]string{"pid": "7"}, Line: `{"message":"first"}`},
		shoal.LogEntry{Time: at(2000), Level: shoal.LogError, Message: "second", Line: `{"message":"second"}`})
	w.node.PutLog("ione", otherTeam, shoal.LogEntry{Time: at(1000), Message: "another team's"})
	for path, want := range map[string]string{
		"/sandboxes/ione/logs": `{"logEntries":[{"fields":{"pid":"7"},"level":"info","message":"first","timestamp":"1970-01-01T00:00:01Z"},` +
			`{"fields":{},"level":"error","message":"second","timestamp":"1970-01-01T00:00:02Z"}],` +
			`"logs":[{"line":"{\"message\":\"first\"}","timestamp":"1970-01-01T00:00:01Z"},{"line":"{\"message\":\"second\"}","timestamp":"1970-01-01T00:00:02Z"}]}`,
		"/sandboxes/ione-6532622b/logs?limit=0": `{"logEntries":[],"logs":[]}`,
		"/v2/sandboxes/ione/logs?level=error":   `{"logs":[{"fields":{},"level":"error","message":"second","timestamp":"1970-01-01T00:00:02Z"}]}`,
	} {
		if r := w.call("GET", path, ""); r.status != 200 || strings.TrimSpace(r.body) != want {
			t.Errorf("%s: %d\n got %s\nwant %s", path, r.status, r.body, want)
		}
	}
	for query, want := range map[string]string{"": "second first", "cursor=1999": "first", "cursor=1000": "first", "direction=forward": "first second",
		"direction=forward&cursor=1001": "second", "limit=1": "second", "direction=backward&limit=1": "second",
		"cursor=9223372036854775807": "second first", "direction=forward&cursor=9223372036854775807": ""} {
		var answer struct{ Logs []struct{ Message string } }
		w.call("GET", "/v2/sandboxes/ione/logs?"+query, "").json(t, &answer)
		var got []string
		for _, e := range answer.Logs {
			got = append(got, e.Message)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	w.node.SetDown(errors.New("away"))
	if r := w.call("GET", "/v2/sandboxes/ione/logs", ""); r.status != 200 || strings.TrimSpace(r.body) != `{"logs":[]}` {
		t.Errorf("while the machine is away: %d %s", r.status, r.body)
	}
}

func TestNodeAway(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	w.must(w.fleet.Sync(t.Context()))
	w.node.SetDown(shoal.ErrNodeUnreachable.New("machine n1 does not answer"))
	w.call("GET", "/sandboxes/"+id, "").wants(t, 503, "does not answer")
	w.call("DELETE", "/sandboxes/"+id, "").wants(t, 503, "does not answer")
	if r := w.call("GET", "/v2/sandboxes", ""); !slices.Contains(ids(t, r), id) {
		t.Errorf("the sandbox seems dead: %s", r.body)
	}
}

func TestDomain(t *testing.T) {
	w := newWorld(t)
	w.server.domain = "sandboxes.example:3002"
	id := w.create(`{"templateID":"base"}`)
	for _, r := range []reply{w.call("GET", "/sandboxes/"+id, ""), w.call("POST", "/v2/sandboxes/"+id+"/connect", "")} {
		if r.field(t, "domain") != "sandboxes.example:3002" {
			t.Error(r.body)
		}
	}
}

func TestTokensAreStable(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	want := auth.NewTokens(shoal.DevTokenSeed).Envd(id)
	for _, r := range []reply{w.call("GET", "/sandboxes/"+id, ""), w.call("POST", "/sandboxes/"+id+"/connect", `{"timeout":1}`)} {
		if r.field(t, "envdAccessToken") != want {
			t.Error(r.body)
		}
	}
}
