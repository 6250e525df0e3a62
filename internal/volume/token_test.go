package volume

import (
	"strings"
	"testing"
	"time"
)

// TestTokens: apis with one secret take each other's tokens, for their time, and nobody else's.
func TestTokens(t *testing.T) {
	signer := func(secret, issuer string) *Signer {
		s, err := NewSigner(secret, issuer)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one, same, other := signer("secret", "here"), signer("secret", "here"), signer("another", "here")
	now := time.Now()
	grant := Grant{TeamID: "team", VolumeID: "volume", Backend: "local", ReadOnly: true}
	token, err := one.Sign(grant, "https://api.here", now)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := same.Check(token, now); err != nil || got != grant {
		t.Errorf("the token is for %+v, %v", got, err)
	}
	changed := []byte(token)
	changed[len(changed)/2] ^= 1
	head, _, _ := strings.Cut(token, ".")
	for what, refused := range map[string]func() (Grant, error){
		"later":            func() (Grant, error) { return one.Check(token, now.Add(TokenTime+time.Minute)) },
		"earlier":          func() (Grant, error) { return one.Check(token, now.Add(-time.Minute)) },
		"by another key":   func() (Grant, error) { return other.Check(token, now) },
		"of another issue": func() (Grant, error) { return signer("secret", "there").Check(token, now) },
		"changed":          func() (Grant, error) { return one.Check(string(changed), now) },
		"unsigned":         func() (Grant, error) { return one.Check("eyJhbGciOiJub25lIn0.e30.", now) },
		"a head":           func() (Grant, error) { return one.Check(head, now) },
	} {
		if got, err := refused(); err == nil {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

// TestBackends: what the setting may say, and where volumes are.
func TestBackends(t *testing.T) {
	for setting, ok := range map[string]bool{"a:/x": true, "a:/x,b:/y": true, "a:x": false, "A:/x": false, "/x": false, "a:/x,a:/y": false} {
		if _, err := ParseBackends(strings.Split(setting, ","), "/data"); (err == nil) != ok {
			t.Errorf("%s: %v", setting, err)
		}
	}
	list, err := ParseBackends(nil, "/data")
	if err != nil {
		t.Fatal(err)
	}
	const id = "0198e8a2-0000-7000-8000-000000000000"
	if dir, err := list.Dir(Default, id, id); err != nil || dir != "/data/volumes/team-"+id+"/vol-"+id {
		t.Errorf("a volume is in %s, %v", dir, err)
	}
	for _, c := range [][3]string{{"other", id, id}, {Default, "../x", id}, {Default, id, "../x"}, {Default, "", id}} {
		if dir, err := list.Dir(c[0], c[1], c[2]); err == nil {
			t.Errorf("%v is in %s", c, dir)
		}
	}
}
