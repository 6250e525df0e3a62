package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// rules is network.rules with one domain and these headers.
func rules(domain, headers string) string {
	return fmt.Sprintf(`{%q:[{"transform":{"headers":%s}}]}`, domain, headers)
}

func TestRulesAreKeptAndShown(t *testing.T) {
	w := newWorld(t)
	sent := `{"*.Example.COM":[{"transform":{"headers":{"X-Key":"${e2b.secrets.Key}"}}}],"none.example.com":[]}`
	id := w.create(`{"templateID":"base","network":{"rules":` + sent + `}}`)
	transforms := w.node.Spec(id).Network.Transforms
	if len(transforms) != 2 || transforms["*.example.com"].Headers["X-Key"] != "${e2b.secrets.Key}" {
		t.Errorf("transforms %v", transforms)
	}
	shown := func(want string) {
		t.Helper()
		network, _ := json.Marshal(w.call("GET", "/sandboxes/"+id, "").field(t, "network"))
		if string(network) != want {
			t.Errorf("network %s", network)
		}
	}
	shown(`{"allowPublicTraffic":true,"rules":{"*.example.com":[{"transform":{"headers":{"X-Key":"${e2b.secrets.Key}"}}}],"none.example.com":[{}]}}`)
	path := "/sandboxes/" + id + "/network"
	w.call("PUT", path, `{"rules":`+rules("a.example.com", `{"A":"b"}`)+`}`).wants(t, 204, "")
	shown(`{"allowPublicTraffic":true,"rules":{"a.example.com":[{"transform":{"headers":{"A":"b"}}}]}}`)
	w.call("PUT", path, `{}`).wants(t, 204, "")
	if network := w.call("GET", "/sandboxes/"+id, "").body; strings.Contains(network, "rules") {
		t.Errorf("after an empty update: %s", network)
	}
}

// TestRuleRefusals: the messages are E2B's (api.md §3.1), and the same for create and update.
func TestRuleRefusals(t *testing.T) {
	w := newWorld(t)
	path := "/sandboxes/" + w.create(`{"templateID":"base"}`) + "/network"
	many := func(n int, one string) string {
		var list []string
		for i := range n {
			list = append(list, strings.ReplaceAll(one, "N", fmt.Sprint(i)))
		}
		return "{" + strings.Join(list, ",") + "}"
	}
	secrets := `{"A":"` + strings.Repeat("${e2b.secrets.x}", 2) // of the same name, and so of one secret
	for i := range 32 {
		secrets += fmt.Sprintf("${e2b.secrets.s%d}", i)
	}
	for _, c := range []struct{ rules, want string }{
		{many(11, `"dN.example.com":[]`), "Network rules can have at most 10 domains."},
		{`{"":[]}`, "Rule domain must not be empty."},
		{rules(strings.Repeat("a.", 64)+"b", `{}`), "exceeds maximum length of 128 characters."},
		{`{"x.example":[{},{}]}`, `Domain "x.example" can have at most 1 transform rule.`},
		{rules("x.example", many(21, `"hN":"v"`)), `Domain "x.example" can have at most 20 headers per rule.`},
		{rules("x.example", `{"h!ä":"v"}`), `Header name "h!ä" in rule for domain "x.example" must contain only valid HTTP token characters.`},
		{rules("x.example", `{":authority":"v"}`), "must contain only valid HTTP token characters."},
		{rules("x.example", `{"":"v"}`), "must not be empty."},
		{rules("x.example", `{"`+strings.Repeat("h", 65)+`":"v"}`), "exceeds maximum length of 64 characters."},
		{rules("x.example", `{"h":"a\r\nb: c"}`), `Value for header "h" in rule for domain "x.example" contains invalid characters.`},
		{rules("x.example", `{"h":"`+strings.Repeat("v", 2049)+`"}`), "exceeds maximum length of 2048 characters."},
		{rules("x.example", `{"Host":"y"}`), "cannot set"},
		{rules("x.example", `{"Transfer-Encoding":"y"}`), "cannot set"},
		{rules("x.example", `{"h":"v","H":"v"}`), "is there twice"},
		{`{"x.example":[],"X.EXAMPLE":[]}`, "is there twice"},
		{rules("x.example", `{"h":"${e2b.secrets.}"}`), "Network transform header contains a malformed E2B placeholder."},
		{rules("x.example", `{"h":"${e2b.other.x}"}`), "Network transform header contains a malformed E2B placeholder."},
		{rules("x.example", `{"h":"${e2b.identity.tokens.t}"}`), `the token "t"`},
		{rules("x.example", secrets+`"}`), "at most 32 secrets"},
	} {
		w.call("PUT", path, `{"rules":`+c.rules+`}`).wants(t, 400, c.want)
		w.call("POST", "/v2/sandboxes", `{"templateID":"base","network":{"rules":`+c.rules+`}}`).wants(t, 400, c.want)
	}
	for _, domain := range []string{"*", "*.", ".", "a..b", "a b", "-a.b", "*.*.a", "a.*", "b*.a", "1.2.3.4", "*.1", "[::1]",
		"a.example.com.", "a/b", "bücher.example", "a:443", "http://a"} {
		w.call("PUT", path, `{"rules":`+rules(domain, `{}`)+`}`).wants(t, 400, fmt.Sprintf("Rule domain %q is not a valid domain name.", domain))
	}
	for _, domain := range []string{"a", "*.com", "a-b.example", "_x.example", "xn--bcher-kva.example", "1a.example"} {
		w.call("PUT", path, `{"rules":`+rules(domain, `{"Authorization":"Bearer ${e2b.secrets.a}"}`)+`}`).wants(t, 204, "")
	}
}

// TestTransformsSwitch: the answer is E2B's to a team without the feature; what is there stays.
func TestTransformsSwitch(t *testing.T) {
	w := newWorld(t)
	w.call("POST", "/sandboxes", `{"templateID":"old","secure":false,"network":{"rules":`+rules("x.example", `{}`)+`}}`).wants(t, 400,
		"newer envd")
	path := "/sandboxes/" + w.create(`{"templateID":"base"}`) + "/network"
	w.operate("PUT", "/admin/switches/transforms", `{"on":false}`).wants(t, 200, "")
	const want = "Network transform rules are not available for your team."
	body := `{"rules":` + rules("x.example", `{"A":"b"}`) + `}`
	w.call("PUT", path, body).wants(t, 400, want)
	w.call("POST", "/sandboxes", `{"templateID":"base","network":`+body+`}`).wants(t, 400, want)
	w.call("PUT", path, `{"rules":{}}`).wants(t, 204, "")
	w.operate("PUT", "/admin/switches/transforms", `{"on":true}`).wants(t, 200, "")
	w.call("PUT", path, body).wants(t, 204, "")
}

// FuzzRules: what is accepted has bounded names in lower case, headers that HTTP can send, and
// nothing that is said twice.
func FuzzRules(f *testing.F) {
	f.Add("*.example.com", "X-Key", "${e2b.secrets.a}")
	f.Add("a.b", "host", "v")
	f.Add("1.2.3.4", "a b", "\n")
	f.Fuzz(func(t *testing.T, domain, name, value string) {
		headers := gen.StringMap{name: value}
		list := gen.NetworkRules{domain: {{Transform: &gen.NetworkTransform{Headers: &headers}}}}
		transforms, err := parseRules(&list)
		if err != nil {
			if !shoal.ErrBadRequest.Matches(err) {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		for domain := range transforms {
			if domain != strings.ToLower(domain) || len(domain) > 128 || domain == "*" || strings.Count(domain, "*") > 1 ||
				strings.ContainsAny(domain, " /:@[]\r\n") {
				t.Fatalf("the domain %q was taken", domain)
			}
		}
		if strings.ContainsAny(name, " :\r\n") || strings.ContainsAny(value, "\r\n\x00") || strings.EqualFold(name, "host") {
			t.Fatalf("%q: %q was taken", name, value)
		}
	})
}
