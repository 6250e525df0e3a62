package envdapi

import "testing"

// TestFileSignature is the vector of envd.md §3.2.
func TestFileSignature(t *testing.T) {
	got := FileSignature("hello.txt", "read", "user", "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0", "")
	if want := "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E"; got != want {
		t.Errorf("signature = %s, want %s", got, want)
	}
	if FileSignature("a", "read", "", "t", "1") == FileSignature("a", "read", "", "t", "") {
		t.Error("an expiration must change the signature")
	}
}
