package config

import (
	"maps"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

func TestSignInIssuers(t *testing.T) {
	a, err := parse(t, "--sign-in-issuers=https://login.example=client=shoal name=Login groups=teams scopes=openid,email,groups;https://b.example=client=x",
		"--sign-in-secret=https://login.example=hush", "--sign-in-groups=https://login.example Heads of All=acme:admin;https://login.example staff=acme:viewer b:viewer")
	if err != nil {
		t.Fatal(err)
	}
	list, err := a.ParseSignIn()
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	one := list[1]
	if one.URL != "https://login.example" || one.Name != "Login" || one.Client != "shoal" || one.Secret != "hush" || one.Groups != "teams" ||
		strings.Join(one.Scopes, " ") != "openid email groups" || list[0].Name != "https://b.example" {
		t.Errorf("%+v", one)
	}
	for groups, want := range map[string]map[string]shoal.Role{"": {"acme": "", "b": ""}, "staff": {"acme": "viewer", "b": "viewer"},
		"staff,Heads of All": {"acme": "admin", "b": "viewer"}, "Heads of All": {"acme": "admin", "b": ""}} {
		if got := one.RolesOf(strings.Split(groups, ",")); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", groups, got, want)
		}
	}
	for _, line := range a.Lines() {
		if strings.Contains(line, "hush") {
			t.Errorf("a secret is shown: %s", line)
		}
	}
	for _, wrong := range [][]string{{"--sign-in-issuers=https://a.example=name=x"}, {"--sign-in-issuers=http://a.example=client=x"},
		{"--sign-in-issuers=https://a.example=client=x size=large"}, {"--sign-in-issuers=https://a.example=client=x scopes=email"},
		{"--sign-in-secret=https://a.example=x"}, {"--sign-in-issuers=https://a.example=client=x", "--sign-in-groups=staff=acme:admin"},
		{"--sign-in-issuers=https://a.example=client=x", "--sign-in-groups=https://a.example staff=acme:king"}} {
		a, err := parse(t, wrong...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.ParseSignIn(); err == nil {
			t.Errorf("%v was taken", wrong)
		}
	}
}
