package registry

import (
	"strings"
	"testing"
)

// FuzzParseName holds the full form of an image's name to mean the same as the name, and a
// mirror to be asked for that very image.
func FuzzParseName(f *testing.F) {
	for _, seed := range []string{"ubuntu", "docker.io/library/ubuntu:24.04", "localhost:5000/a/b", " ghcr.io/a/b ",
		"a@sha256:" + strings.Repeat("0", 64), "a:b@sha256:" + strings.Repeat("f", 64), "A", "a:", "a@b", "[::1]:5000/a", "",
		"a//b", "../a", "a/../b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := ParseName(text)
		if err != nil {
			return
		}
		if again, err := ParseName(ref.Name()); err != nil || again.Name() != ref.Name() {
			t.Errorf("%q is %q in full, but that is %v (%v)", text, ref.Name(), again, err)
		}
		registry := ref.Context().RegistryStr()
		c := &Client{mirrors: map[string]string{registry: "mirror.example:5000"}}
		at, err := c.mirrored(ref)
		if err != nil {
			t.Fatalf("%q has no name at a mirror: %v", text, err)
		}
		if at.Context().RegistryStr() != "mirror.example:5000" || at.Identifier() != ref.Identifier() ||
			at.Context().RepositoryStr() != ref.Context().RepositoryStr() {
			t.Errorf("%q is asked for as %q at a mirror", ref.Name(), at.Name())
		}
	})
}
