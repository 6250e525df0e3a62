package keyring

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

func ringOf(t *testing.T, keys ...Key) *Ring {
	t.Helper()
	r, err := New(func() ([]Key, error) { return keys, nil })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func local(t *testing.T, secret string) *Local {
	t.Helper()
	k, err := NewLocal(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestSeal: what is sealed opens for the same thing alone, by the key that sealed it, and damage of
// any byte is noticed.
func TestSeal(t *testing.T) {
	r, other := ringOf(t, local(t, "one")), ringOf(t, local(t, "two"))
	for _, n := range []int{0, 1, 255, 256, 257, shoal.MaxSecretValue} {
		value := bytes.Repeat([]byte("v"), n)
		sealed, err := r.Seal(t.Context(), r.First(), "it", value)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Open(t.Context(), "it", sealed); err != nil || !bytes.Equal(got, value) {
			t.Errorf("%d bytes: %d, %v", n, len(got), err)
		}
		if n > 0 && n < 257 && len(sealed) != len(mustSeal(t, r, "it", "x")) {
			t.Errorf("the length of %d bytes shows", n)
		}
		if _, err := r.Open(t.Context(), "another", sealed); !errors.Is(err, ErrNoKey) {
			t.Errorf("for another thing: %v", err)
		}
		if _, err := other.Open(t.Context(), "it", sealed); !errors.Is(err, ErrNoKey) {
			t.Errorf("by another key: %v", err)
		}
	}
	sealed := mustSeal(t, r, "it", "value")
	for i := range sealed {
		damaged := []byte(sealed)
		damaged[i] ^= 1
		if got, err := r.Open(t.Context(), "it", string(damaged)); err == nil && string(got) != "value" {
			t.Fatalf("damage of byte %d gives %q", i, got)
		} else if err == nil && i < len(sealed)-1 && sealed[i+1] != ':' { // the last of base64 has bits of nothing
			t.Errorf("damage of byte %d is not noticed", i)
		}
		if _, err := r.Open(t.Context(), "it", sealed[:i]); !errors.Is(err, ErrNoKey) {
			t.Errorf("the first %d bytes: %v", i, err)
		}
	}
}

func mustSeal(t *testing.T, r *Ring, about, value string) string {
	t.Helper()
	sealed, err := r.Seal(t.Context(), r.First(), about, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// TestRewrap: another key wraps the data key, and the value's own text stays.
func TestRewrap(t *testing.T) {
	one, two := local(t, "one"), local(t, "two")
	both := ringOf(t, two, one)
	sealed := mustSeal(t, ringOf(t, one), "it", "value")
	again, err := both.Rewrap(t.Context(), two.ID(), "it", sealed)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ringOf(t, two).Open(t.Context(), "it", again); err != nil || string(got) != "value" {
		t.Errorf("%q, %v", got, err)
	}
	if !strings.HasPrefix(again, Head(two.ID())) || sealed[strings.LastIndex(sealed, ":"):] != again[strings.LastIndex(again, ":"):] {
		t.Errorf("%q from %q", again, sealed)
	}
}

// TestNewKeyIsFound: a ring that meets a key it does not have looks for it where keys come from.
func TestNewKeyIsFound(t *testing.T) {
	one, two := local(t, "one"), local(t, "two")
	keys := []Key{one}
	r, err := New(func() ([]Key, error) { return keys, nil })
	if err != nil {
		t.Fatal(err)
	}
	sealed := mustSeal(t, ringOf(t, two), "it", "value")
	if _, err := r.Open(t.Context(), "it", sealed); !errors.Is(err, ErrNoKey) {
		t.Error(err)
	}
	keys = []Key{two}
	if got, err := r.Open(t.Context(), "it", sealed); err != nil || string(got) != "value" {
		t.Errorf("%q, %v", got, err)
	}
	if !r.Has(one.ID()) || r.First() != two.ID() {
		t.Error("the former key is gone, or is the first still")
	}
}

// plug writes a program that wraps by three bytes before, counts its calls, and fails if it is told to.
func plug(t *testing.T) (program, calls, broken string) {
	t.Helper()
	dir := t.TempDir()
	program, calls, broken = filepath.Join(dir, "plug"), filepath.Join(dir, "calls"), filepath.Join(dir, "broken")
	script := "#!/bin/sh\nread -r line\necho \"$1 $SHOAL_SEAL_SECRET\" >> " + calls + "\n" +
		"[ -e " + broken + " ] && { echo no such key >&2; exit 3; }\n" +
		"case $1 in wrap) echo \"AAAA$line\";; unwrap) echo \"${line#AAAA}\";; esac\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return program, calls, broken
}

// TestCommand: a program of the operator's wraps and unwraps, is not asked for the same twice within a
// minute, gets none of Shoal's settings, and its failure is told without what it wrote.
func TestCommand(t *testing.T) {
	t.Setenv("SHOAL_SEAL_SECRET", "leaked")
	program, calls, broken := plug(t)
	r := ringOf(t, NewCommand(program))
	if len(commandID) != IDLength {
		t.Fatal("the ID has another length")
	}
	sealed := mustSeal(t, r, "it", "value")
	for range 3 {
		if got, err := r.Open(t.Context(), "it", sealed); err != nil || string(got) != "value" {
			t.Errorf("%q, %v", got, err)
		}
	}
	said, err := os.ReadFile(calls)
	if err != nil || string(said) != "wrap \nunwrap \n" {
		t.Errorf("calls: %q, %v", said, err)
	}
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = ringOf(t, NewCommand(program)).Open(t.Context(), "it", sealed)
	known := shoal.AsError(err)
	if known.Kind != shoal.ErrSealCommand || strings.Contains(known.Message+known.Detail, "no such key") ||
		!strings.Contains(known.Err.Error(), "no such key") {
		t.Error(err)
	}
	if _, err := ringOf(t, NewCommand("/nowhere")).Seal(t.Context(), commandID, "it", nil); !shoal.ErrSealCommand.Matches(err) {
		t.Error(err)
	}
}
