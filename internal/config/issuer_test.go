package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestIssuers(t *testing.T) {
	a, err := parse(t, "--config", file(t, "jwt-issuers = https://b.example/realm=shoal cli;http://localhost:4444/=x discovery=https://a.example/d"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Issuer{
		{URL: "http://localhost:4444/", Discovery: "https://a.example/d", Audiences: []string{"x"}},
		{URL: "https://b.example/realm", Audiences: []string{"shoal", "cli"}},
	}
	if got, err := a.Issuers(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for issuer, wrong := range map[string]string{
		"https://a.example":                      "names no audience",
		"https://b.example=discovery=":           "names no audience",
		"http://c.example=x":                     "must be https",
		"https://d.example?x=x":                  "must be https",
		"https://user@e.example=x":               "must be https",
		"https://f.example=x discovery=http://f": "must be https",
		"nothing=x":                              "must be https",
	} {
		name, value, _ := strings.Cut(issuer, "=")
		c := Config{JWTIssuers: map[string]string{name: value}}
		if _, err := c.Issuers(); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v, want %q", issuer, err, wrong)
		}
	}
}

func TestAccessTokensSetting(t *testing.T) {
	if a, err := parse(t); err != nil || a.AccessTokens != "on" {
		t.Errorf("%+v, %v", a.AccessTokens, err)
	}
	if _, err := parse(t, "--access-tokens=maybe"); err == nil {
		t.Error("an unknown word was taken")
	}
}
