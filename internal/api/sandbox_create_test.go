package api

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"shoal/internal/auth"
	"shoal/internal/shoal"
)

func TestCreateDefaults(t *testing.T) {
	w := newWorld(t)
	tokens := auth.NewTokens(shoal.DevTokenSeed)
	cases := map[string]struct {
		path, body string
		timeout    time.Duration
		secure     bool
	}{
		"v1":             {"/sandboxes", `{"templateID":"base"}`, 15 * time.Second, false},
		"v1 secure":      {"/sandboxes", `{"templateID":"base","secure":true,"timeout":300}`, 300 * time.Second, true},
		"v1 from a 1.x":  {"/sandboxes", `{"templateID":"base","metadata":{},"envVars":{},"timeout":60,"autoPause":false}`, 60 * time.Second, false},
		"v2":             {"/v2/sandboxes", `{"templateID":"base"}`, 300 * time.Second, true},
		"v2, not secure": {"/v2/sandboxes", `{"templateID":"base","secure":false,"timeout":1}`, time.Second, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := w.call("POST", c.path, c.body)
			r.wants(t, 201, "")
			id, _ := r.field(t, "sandboxID").(string)
			if !regexp.MustCompile(`^i[a-z0-9]{20}$`).MatchString(id) {
				t.Fatalf("sandbox ID %q", id)
			}
			want := map[string]any{"templateID": "base", "clientID": "6532622b", "envdVersion": "0.6.13", "alias": "base",
				"envdURL": "http://10.11.0.9:49983", "hostAddress": "10.11.0.9", "envdAccessToken": nil, "trafficAccessToken": nil, "domain": nil}
			if c.secure {
				want["envdAccessToken"] = tokens.Envd(id)
			}
			for k, v := range want {
				if got := r.field(t, k); got != v {
					t.Errorf("%s is %v, want %v", k, got, v)
				}
			}
			if strings.Contains(r.body, "null") {
				t.Errorf("null in %s", r.body)
			}
			spec := w.node.Spec(id)
			if spec.Timeout != c.timeout || spec.TeamID != shoal.DevTeamID || spec.BuildID != readyBuild ||
				spec.MaxLength != 24*time.Hour || spec.Resources.MemoryMB != 1024 || spec.DefaultUser != "user" {
				t.Errorf("spec %+v", spec)
			}
			if (spec.EnvdAccessToken != "") != c.secure {
				t.Errorf("token %q", spec.EnvdAccessToken)
			}
			if spec.Network.AllowInternet != nil {
				t.Error("a default was stored for internet access")
			}
		})
	}
}

func TestCreatePassesEverythingOn(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"BASE:default ","metadata":{"a":"b","":"empty key"},"envVars":{"X":"1"},"timeout":61,
		"allow_internet_access":false,"autoPauseMemory":true,"autoResume":{"enabled":false},"iam":{"tokens":{}},"volumeMounts":[],
		"mcp":{"browserbase":{"apiKey":"x"}},"unknown":{"field":1},
		"network":{"allowOut":["1.1.1.1"],"denyOut":["0.0.0.0/0"],"egressProxy":null,"rules":{},
			"allowPublicTraffic":false,"maskRequestHost":"h:${PORT}","httpsPorts":[3000]}}`)
	spec := w.node.Spec(id)
	n := spec.Network
	if spec.Metadata["a"] != "b" || spec.Metadata[""] != "empty key" || spec.EnvVars["X"] != "1" || spec.Timeout != 61*time.Second {
		t.Errorf("spec %+v", spec)
	}
	if n.AllowInternet == nil || *n.AllowInternet || len(n.AllowOut) != 1 || len(n.DenyOut) != 1 || n.MaskRequestHost != "h:${PORT}" ||
		len(n.HTTPSPorts) != 1 || n.TrafficAccessToken != auth.NewTokens(shoal.DevTokenSeed).Traffic(id) {
		t.Errorf("network %+v", n)
	}
	detail := w.call("GET", "/sandboxes/"+id, "")
	var d struct {
		AllowInternetAccess *bool
		EnvdAccessToken     string
		Network             map[string]any
		Lifecycle           map[string]any
		Metadata            map[string]string
	}
	detail.json(t, &d)
	network, _ := json.Marshal(d.Network)
	if string(network) != `{"allowOut":["1.1.1.1"],"allowPublicTraffic":false,"denyOut":["0.0.0.0/0"],"httpsPorts":[3000],"maskRequestHost":"h:${PORT}"}` {
		t.Errorf("network %s", network)
	}
	if d.AllowInternetAccess == nil || *d.AllowInternetAccess || d.EnvdAccessToken == "" || d.Metadata["a"] != "b" ||
		d.Lifecycle["onTimeout"] != "kill" || d.Lifecycle["autoResume"] != false {
		t.Errorf("detail %s", detail.body)
	}
	if strings.Contains(detail.body, `"X"`) {
		t.Error("environment variables can be read back")
	}
}

const sixTokens = `"a":{"audience":"a","tokenType":"JWT-SVID"},"b":{"audience":"a","tokenType":"JWT-SVID"},` +
	`"c":{"audience":"a","tokenType":"JWT-SVID"},"d":{"audience":"a","tokenType":"JWT-SVID"},` +
	`"e":{"audience":"a","tokenType":"JWT-SVID"},"f":{"audience":"a","tokenType":"JWT-SVID"},`

func TestCreateRefusals(t *testing.T) {
	w := newWorld(t)
	const v = validationPrefix
	cases := []struct {
		body    string // of v1, unless it is marked
		status  int
		message string
	}{
		{`{}`, 400, v + `request body has an error: doesn't match schema`},
		{`{"templateID":5}`, 400, v},
		{`{"templateID":null}`, 400, v},
		{`{"templateID":"base","timeout":-1}`, 400, v},
		{`{"templateID":"base","timeout":"60"}`, 400, v},
		{`{"templateID":"base","timeout":1.5}`, 400, v},
		{`{"templateID":"base","timeout":99999999999}`, 400, v},
		{`{"templateID":"base","timeout":0}`, 400, "Timeout must be greater than 0"},
		{`{"templateID":"base","timeout":86401}`, 400, "Timeout cannot be greater than 24 hours"},
		{`{"templateID":"base","metadata":{"a":1}}`, 400, v},
		{`{"templateID":"base","envVars":{"a":null}}`, 400, v},
		{`{"templateID":"base","mcp":"x"}`, 400, v},
		{`{"templateID":"base","autoResume":true}`, 400, v},
		{`{"templateID":"base","autoPauseMemory":false}`, 400, "autoPauseMemory=false only applies when autoPause is true."},
		{`{"templateID":"base","autoPause":true,"autoPauseMemory":false,"autoResume":{"enabled":true}}`, 400, "autoPauseMemory=false (filesystem-only auto-pause) cannot be combined with autoResume"},
		{`{"templateID":"ba se"}`, 400, "Invalid template reference: invalid template ID: ba se"},
		{`{"templateID":""}`, 400, "Invalid template reference: invalid template ID: it is empty"},
		{`{"templateID":"../base"}`, 400, "Invalid template reference: invalid namespace: .."},
		{`{"templateID":"a/b/c"}`, 400, "Invalid template reference: invalid template ID: b/c"},
		{`{"templateID":"base:"}`, 400, "Invalid template reference: invalid tag: a tag is missing after ':'"},
		{`{"templateID":"base:a:b"}`, 400, "Invalid template reference: invalid tag: a:b"},
		{`{"templateID":"nothing"}`, 404, "template 'nothing' not found"},
		{`{"templateID":"other/secret"}`, 404, "template 'other/secret' not found"},
		{`{"templateID":"otherprivate"}`, 404, "template 'otherprivate' not found"},
		{`{"templateID":"other/base"}`, 404, "template 'other/base' not found"},
		{`{"templateID":"base:nope"}`, 404, "tag 'nope' does not exist for template 'base'"},
		{`{"templateID":"base:broken"}`, 404, "tag 'broken' does not exist for template 'base'"},
		{`{"templateID":"base:` + badBuild + `"}`, 404, "does not exist for template 'base'"},
		{`{"templateID":"unbuilt"}`, 404, "tag 'default' does not exist for template 'unbuilt'"},
		{`{"templateID":"old","secure":true}`, 400, "Template is not compatible with secured access. Build it again"},
		{`{"templateID":"nover","secure":true}`, 400, "You need to re-build template to allow using secured access. Build it again"},
		{`v2{"templateID":"old"}`, 400, "Template is not compatible with secured access."},
		{`{"templateID":"base","network":{"allowPublicTraffic":false}}`, 400, "You cannot create a sandbox without public access unless you enable secure envd access via 'secure' flag."},
		{`{"templateID":"base","network":{"denyOut":["nonsense"]}}`, 400, "invalid denied CIDR nonsense"},
		{`{"templateID":"base","network":{"denyOut":"0.0.0.0/0"}}`, 400, v},
		{`{"templateID":"base","network":{"maskRequestHost":"a b"}}`, 400, "mask request host is not valid: a b"},
		{`{"templateID":"base","network":{"maskRequestHost":""}}`, 400, "mask request host is not valid: "},
		{`{"templateID":"base","network":{"maskRequestHost":"http://x"}}`, 400, "mask request host is not valid: http://x"},
		{`{"templateID":"base","network":{"maskRequestHost":"x:70000"}}`, 400, "mask request host is not valid: x:70000"},
		{`{"templateID":"base","network":{"maskRequestHost":"x\r\nEvil: 1"}}`, 400, "mask request host is not valid"},
		{`{"templateID":"base","network":{"maskRequestHost":"bücher.example"}}`, 400, "mask request host 'bücher.example' is not ASCII. Please use ASCII characters only."},
		{`{"templateID":"base","network":{"httpsPorts":[49983]}}`, 400, "49983"},
		{`{"templateID":"base","network":{"httpsPorts":[0]}}`, 400, v},
		{`{"templateID":"base","network":{"httpsPorts":[65536]}}`, 400, v},
		{`{"templateID":"base","network":{"egressProxy":{"address":"p"}}}`, 400, "Invalid egress proxy config: address must be host:port"},
		{`{"templateID":"base","network":{"egressProxy":{"address":"p:0"}}}`, 400, "Invalid egress proxy config: port must be between 1 and 65535"},
		{`{"templateID":"base","network":{"egressProxy":{"address":"[::1]:1080"}}}`, 400, "Invalid egress proxy config: the host must be a name or an IPv4 address"},
		{`{"templateID":"base","network":{"egressProxy":{"address":"p:1","password":"x"}}}`, 400, "Invalid egress proxy config: password requires a username"},
		{`{"templateID":"base","network":{"egressProxy":{"address":"p:1","tls":{"enabled":false,"serverName":"x"}}}}`, 400, "Invalid egress proxy config: tls.serverName and tls.caCert require tls.enabled"},
		{`{"templateID":"base","network":{"egressProxy":{"address":"p:1","tls":{"enabled":true,"caCert":"x"}}}}`, 400, "Invalid egress proxy config: tls.caCert has no PEM certificate"},
		{`{"templateID":"base","network":{"egressProxy":{}}}`, 400, v},
		{`{"templateID":"base","iam":{"tokens":{"t":{"audience":"","tokenType":"JWT-SVID"}}}}`, 400, "iam.tokens.t.audience: audience is required"},
		{`{"templateID":"base","iam":{"tokens":{"t":{"audience":"a","tokenType":"JWT"}}}}`, 400, `iam.tokens.t.tokenType: only "JWT-SVID" is supported`},
		{`{"templateID":"base","iam":{"tokens":{"":{"audience":"a","tokenType":"JWT-SVID"}}}}`, 400, "iam.tokens: token name must not be empty"},
		{`{"templateID":"base","iam":{"tokens":{` + strings.TrimSuffix(sixTokens, ",") + `}}}`, 400, "iam.tokens: too many tokens: 6 (max 5)"},
		{`{"templateID":"base","iam":{"tokens":{"t":{"audience":"a"}}}}`, 400, v},
		{`{"templateID":"base","volumeMounts":[{"name":"v","path":"/v"}]}`, 400, "invalid mounts:\n\t- volume mount #0: volume 'v' not found"},
		{`{"templateID":"base","volumeMounts":[{"name":"v"}]}`, 400, v},
	}
	for _, c := range cases {
		t.Run(c.body, func(t *testing.T) {
			path, body := "/sandboxes", c.body
			if rest, ok := strings.CutPrefix(body, "v2"); ok {
				path, body = "/v2/sandboxes", rest
			}
			r := w.call("POST", path, body)
			r.wants(t, c.status, c.message)
		})
	}
	if list, err := w.node.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("bad requests started %d sandboxes (%v)", len(list), err)
	}
}

func TestCreateTemplates(t *testing.T) {
	w := newWorld(t)
	cases := []struct{ ref, key, template, build, alias string }{
		{"base", shoal.DevAPIKey, "base", readyBuild, "base"}, // a failed rebuild does not displace it
		{"base", otherKey, "base", readyBuild, "base"},
		{"base:" + oldBuild, shoal.DevAPIKey, "base", oldBuild, "base"},
		{"old:v1.2", shoal.DevAPIKey, "ancient", "", "old"},
		{"local-dev-team/old", shoal.DevAPIKey, "ancient", "", "old"},
		{"ancient", shoal.DevAPIKey, "ancient", "", "old"},
		{"secret", otherKey, "otherprivate", "", "secret"},
		{"other/shared", shoal.DevAPIKey, "otherpublic", "", "shared"},
		{"otherpublic", shoal.DevAPIKey, "otherpublic", "", "shared"},
	}
	for _, c := range cases {
		t.Run(c.ref+" by "+c.key, func(t *testing.T) {
			r := w.call("POST", "/sandboxes", `{"templateID":"`+c.ref+`"}`, "X-API-Key", c.key)
			r.wants(t, 201, "")
			if r.field(t, "templateID") != c.template || r.field(t, "alias") != c.alias {
				t.Error(r.body)
			}
			if spec := w.node.Spec(r.field(t, "sandboxID").(string)); c.build != "" && spec.BuildID != c.build {
				t.Errorf("build %s", spec.BuildID)
			}
		})
	}
}

// A bare name is not looked for in other teams, public or not.
func TestCreateBareNameOfAnotherTeam(t *testing.T) {
	w := newWorld(t)
	w.call("POST", "/sandboxes", `{"templateID":"shared"}`).wants(t, 404, "template 'shared' not found")
}

func TestCreatePlacementErrors(t *testing.T) {
	w := newWorld(t)
	cases := []struct {
		err     error
		status  int
		code    string
		message string
		cause   string
	}{
		{shoal.ErrCapacity.New("full"), 503, "sandbox_capacity_unavailable", "Failed to place sandbox: not enough capacity for the requested resources right now, please retry shortly", "machine n1: full"},
		{shoal.ErrImageMissing.New("gone"), 503, "sandbox_no_compatible_node", "Failed to place sandbox: no compatible node for this template's requirements", "gone"},
		{shoal.ErrCreateFailed.New("the guest did not start"), 500, "sandbox_create_failed", "Failed to place sandbox: sandbox creation failed on 1 node(s)", "the guest did not start"},
		{shoal.ErrEnvdTimeout.New("console: oops"), 500, "sandbox_create_failed", "Failed to place sandbox", "console: oops"},
		{shoal.ErrNetworkPolicy.New("invalid allowed address x"), 400, "network.policy", "invalid allowed address x", "egress rule"},
	}
	for _, c := range cases {
		t.Run(c.err.Error(), func(t *testing.T) {
			w.node.OnCreate(func(context.Context, shoal.Spec) error { return c.err })
			r := w.call("POST", "/v2/sandboxes", `{"templateID":"base"}`)
			r.wants(t, c.status, c.message)
			if cause, _ := r.field(t, "cause").(string); r.field(t, "error_code") != c.code || !strings.Contains(cause, c.cause) {
				t.Error(r.body)
			}
		})
	}
}

func TestConcurrencyLimit(t *testing.T) {
	w := newWorld(t)
	mine := []string{"X-API-Key", smallKey}
	first := w.create(`{"templateID":"base"}`, mine...)
	w.create(`{"templateID":"base"}`, mine...)
	r := w.call("POST", "/v2/sandboxes", `{"templateID":"base"}`, mine...)
	r.wants(t, 429, "you have reached the maximum number of concurrent E2B sandboxes (2).")
	if r.header.Get("Retry-After") != "" || r.header.Get("Should-Retry") != "false" {
		t.Errorf("SDKs would wait for a place that nobody frees (clients.md D10): %v", r.header)
	}
	w.create(`{"templateID":"base"}`) // another team's limit
	w.call("DELETE", "/sandboxes/"+first, "", mine...).wants(t, 204, "")
	w.create(`{"templateID":"base"}`, mine...)
	w.call("POST", "/v2/sandboxes", `{"templateID":"base","timeout":3601}`, mine...).wants(t, 400, "Timeout cannot be greater than 1 hours")
}

func TestSpawnsAreCounted(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.server.Run(ctx) }()
	w.create(`{"templateID":"base"}`)
	w.create(`{"templateID":"base"}`)
	cancel()
	w.must(<-done)
	tpl, err := w.store.Template(t.Context(), "base")
	if err != nil || tpl.SpawnCount != 2 || time.Since(tpl.LastSpawnedAt) > time.Minute {
		t.Errorf("%+v, %v", tpl, err)
	}
}

func TestAtLeast(t *testing.T) {
	for version, want := range map[string]bool{"0.2.0": true, "0.6.13": true, "v1.0.0": true, "0.10.0": true, "0.2.0-dev": true,
		"0.1.9": false, "0.1.10": false, "": false, "0.2": false, "x.y.z": false} {
		if got := atLeast(version, 0, 2, 0); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

// TestNoReadyBuild: the cause says why a tag that is listed does not exist.
func TestNoReadyBuild(t *testing.T) {
	w := newWorld(t)
	waiting := w.register(`{"name":"slow"}`)
	for reference, want := range map[string]string{
		"base:nope":        "No template of this name or ID is visible",
		"base:broken":      "the last one, " + badBuild + ", failed",
		"base:" + badBuild: "the last one, " + badBuild + ", failed",
		"slow":             "the last one, " + waiting.BuildID + ", is not ready yet (waiting)",
	} {
		r := w.call("POST", "/v2/sandboxes", `{"templateID":"`+reference+`"}`)
		r.wants(t, 404, "does not exist for template")
		if cause := r.field(t, "cause").(string); !strings.Contains(cause, want) {
			t.Errorf("%s: cause %q, want %q", reference, cause, want)
		}
	}
}
