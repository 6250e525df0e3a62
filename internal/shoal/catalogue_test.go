package shoal

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

const errorsPage = "../../docs/errors.md"

// renderCatalogue writes docs/errors.md.
func renderCatalogue() string {
	var b strings.Builder
	b.WriteString("# Errors\n\nEvery error that a user can meet, by its stable `error_code`. Answers carry it beside E2B's `code` and `message`, with `cause`, `fix` and `requestId`. " +
		"What a machine says about its own failure (status 500 and above) is the cause for the team that runs the installation; others read the one below. This page is generated from `internal/shoal/catalogue.go` by `go generate ./internal/shoal`.\n\n| Code | Status | Cause | Fix |\n|---|---|---|---|\n")
	for _, k := range Catalogue {
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s |\n", k.Code, k.Status, k.Cause, k.Fix)
	}
	return b.String()
}

// TestErrorsPage fails if the page is not the catalogue's; with UPDATE_ERRORS set
// it writes the page.
func TestErrorsPage(t *testing.T) {
	want := renderCatalogue()
	if os.Getenv("UPDATE_ERRORS") != "" {
		if err := os.WriteFile(errorsPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(errorsPage)
	if err != nil || string(got) != want {
		t.Errorf("docs/errors.md is not up to date; run go generate ./internal/shoal (%v)", err)
	}
}

func TestCatalogue(t *testing.T) {
	form := regexp.MustCompile(`^[a-z_]+(\.[a-z_]+)?$`)
	seen := map[string]bool{}
	for _, k := range Catalogue {
		if !form.MatchString(k.Code) || seen[k.Code] {
			t.Errorf("code %q is malformed or used twice", k.Code)
		}
		seen[k.Code] = true
		if http.StatusText(k.Status) == "" || k.Status < 400 {
			t.Errorf("%s: status %d", k.Code, k.Status)
		}
		for _, text := range []string{k.Cause, k.Fix} {
			if !strings.HasSuffix(text, ".") || strings.Contains(text, "|") {
				t.Errorf("%s: %q is no sentence", k.Code, text)
			}
		}
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	wrapped := fmt.Errorf("outer: %w", ErrSandboxState.Wrap(os.ErrClosed, "busy"))
	if !ErrSandboxState.Matches(wrapped) || ErrSandboxNotFound.Matches(wrapped) {
		t.Error("a wrapped error loses its kind")
	}
	if AsError(wrapped).Message != "busy" || AsError(os.ErrClosed).Kind != ErrInternal {
		t.Error("AsError")
	}
}

func TestSandboxIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewSandboxID()
		if parsed, err := ParseSandboxID(id); err != nil || parsed != id || len(id) != 21 || id[0] != 'i' || seen[id] {
			t.Fatalf("%q: %q %v", id, parsed, err)
		}
		seen[id] = true
	}
	for in, want := range map[string]string{
		"iabc": "iabc", "iabc-6532622b": "iabc", "not-found": "not", "": "", "UPPER": "", "a-b-c": "", "a_b": "", "-a": "", "a-": "", "a/../b": "",
	} {
		got, err := ParseSandboxID(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v, want %q", in, got, err, want)
		}
	}
}
