package shoal

import (
	"slices"
	"testing"
)

func TestPlaceholders(t *testing.T) {
	secret := Placeholder{PlaceholderSecret, "key"}
	token := Placeholder{PlaceholderToken, "Db"}
	for value, want := range map[string][]Placeholder{
		"plain ${HOME} $":                                         nil,
		"Bearer ${e2b.secrets.KEY}":                               {secret},
		"${e2b.identity.tokens.Db}:${e2b.secrets.key}":            {token, secret},
		"${e2b.secrets.key}${e2b.secrets.Key} ${e2b.secrets.x.y}": {secret, secret, {PlaceholderSecret, "x.y"}},
	} {
		found, err := ParsePlaceholders(value)
		if err != nil || !slices.Equal(found, want) {
			t.Errorf("%q: %v, %v; want %v", value, found, err, want)
		}
	}
	for _, value := range []string{"${e2b.}", "${e2b.secrets.}", "${e2b.secrets.a", "${e2b.other.a}",
		"${e2b.secrets.a\n}", "${e2b.secrets.${e2b.secrets.a}}"} {
		if found, err := ParsePlaceholders(value); err == nil {
			t.Errorf("%q: %v is taken", value, found)
		}
	}
	values := map[Placeholder]string{secret: "${e2b.identity.tokens.Db}", token: "t"}
	filled := FillPlaceholders("${e2b.secrets.KEY} ${e2b.identity.tokens.Db} ${e2b.secrets.none}", values)
	if want := "${e2b.identity.tokens.Db} t ${e2b.secrets.none}"; filled != want {
		t.Errorf("filled: %q, want %q", filled, want)
	}
}
