package reference

import "testing"

// FuzzReference holds a reference that was accepted to consist of what the rules name, and
// to be read as itself when it is written again.
func FuzzReference(f *testing.F) {
	for _, seed := range []string{"base", "Base:default", "team/name:v1.0", " team/name ", "a/b/c", "a:", ":a", "", "a:b:c",
		"é", "K", "a b", "a/:b", "a\x00", "a\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := Parse(text)
		if err != nil {
			if ref.Name != "" || ref.Tag != "" {
				t.Errorf("%q is refused (%v), but has the name %q and the tag %q", text, err, ref.Name, ref.Tag)
			}
			return
		}
		for _, c := range ref.Namespace + ref.Name + ref.Tag {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
				t.Errorf("%q has %q in a name", text, c)
			}
		}
		again := ref.String()
		if ref.Tag != "" {
			again += ":" + ref.Tag
		}
		if got, err := Parse(again); err != nil || got != ref {
			t.Errorf("%q is %+v, and written again %+v (%v)", text, ref, got, err)
		}
	})
}
