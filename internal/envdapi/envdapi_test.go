package envdapi

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestFacts: what the node states is what the daemon reads.
func TestFacts(t *testing.T) {
	for _, facts := range []Facts{
		{},
		{Sandbox: "true", BootHash: BootHash("secret")},
		{Sandbox: "true", SandboxID: "i1", TemplateID: "t", TokenHash: TokenHash("")},
	} {
		env := map[string]string{}
		for _, entry := range facts.Environ() {
			key, value, _ := strings.Cut(entry, "=")
			env[key] = value
		}
		if got := ReadFacts(func(key string) string { return env[key] }); got != facts {
			t.Errorf("%+v was read as %+v", facts, got)
		}
	}
}

// TestHashes: guests that were made by an earlier version compare them.
func TestHashes(t *testing.T) {
	const token = "ee26b0dd4af7e749aa1a8ee3c10ae9923f618980772e473f8819a5d4940e0db27ac185f8a0e1d5f84f88bc887fd67b143732c304cc5fa9ad8e6f57f50028a8ff"
	const secret = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	if got := TokenHash("test"); got != token {
		t.Errorf("TokenHash: %s", got)
	}
	if got := BootHash("test"); got != secret {
		t.Errorf("BootHash: %s", got)
	}
}

func TestAccessToken(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                        "",
		`{"accessToken":null}`:      "",
		`{"accessToken":"a.b-c_"}`:  "a.b-c_",
		`{"accessToken":""}`:        "error",
		`{"accessToken":1}`:         "error",
		`{"accessToken":"a\u0062"}`: "error",
	} {
		var body Init
		got := "error"
		if err := json.Unmarshal([]byte(text), &body); err == nil {
			got = string(body.AccessToken)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	// A request without one must not state it.
	if data, err := json.Marshal(Init{}); err != nil || string(data) != "{}" {
		t.Errorf("an empty request is %s, error %v", data, err)
	}
}
