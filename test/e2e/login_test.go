package e2e

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/internal/issuer/issuertest"
)

// TestCommandLineSignIn: `e2b auth login` gets a token of an issuer, and the API gives it a key
// by which the command line works from then on.
func TestCommandLineSignIn(t *testing.T) {
	provider := issuertest.New(t)
	b := another(t, "login", nil, "SHOAL_JWT_ISSUERS="+provider.URL()+"=shoal", "SHOAL_OUTBOUND_ALLOW=127.0.0.1")
	const email = "ann@example.com"
	for _, line := range []string{"user create " + email, "user link " + email + " " + provider.URL() + " ann",
		"team admit local-dev-team " + email} {
		if out, err := b.Run(t.Context(), strings.Fields(line)...); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	home := t.TempDir()
	if out, err := b.bare(t, home, "", nil, "template", "list"); err == nil {
		t.Fatalf("nobody has logged in, yet: %s", out)
	}
	login(t, b.box, home, url.Values{"email": {email}, "accessToken": {provider.Token("ann", "shoal")},
		"refreshToken": {"r"}, "tokenEndpoint": {provider.URL() + "/token"},
		"revokeEndpoint": {provider.URL() + "/revoke"}, "clientId": {"cli"}})
	if out, err := b.bare(t, home, "", nil, "template", "list"); err != nil || !strings.Contains(out, "base") {
		t.Errorf("after the login: %v\n%s", err, out)
	}
	if out, err := b.Run(t.Context(), "key", "list"); err != nil || !strings.Contains(out, "CLI login/configure") {
		t.Errorf("%v\n%s", err, out)
	}
}

// login runs `e2b auth login`, which asks a browser to open a page, and answers in its place.
func login(t *testing.T, b *box, home string, answer url.Values) {
	t.Helper()
	binary, err := filepath.Abs("../js/node_modules/.bin/e2b")
	if err != nil {
		t.Fatal(err)
	}
	asked, browser := filepath.Join(home, "asked"), filepath.Join(home, "browser")
	if err := syscall.Mkfifo(asked, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(browser, []byte("#!/bin/sh\necho \"$1\" > "+asked+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	pages, err := os.OpenFile(asked, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pages.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "auth", "login")
	cmd.Dir, cmd.WaitDelay = home, time.Second
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "BROWSER=" + browser,
		"E2B_API_URL=http://" + b.API, "E2B_DOCS_BASE=http://localhost:9/docs"} // where nobody is
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := pages.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Error(err)
	}
	page, err := bufio.NewReader(pages).ReadString('\n')
	if err == nil {
		browse(ctx, t, page, answer)
	}
	if ended := cmd.Wait(); ended != nil || err != nil {
		t.Fatalf("e2b auth login: %v, %v\n%s", ended, err, out.String())
	}
}

// browse sends what the browser would after a login on the page, and goes nowhere from there.
func browse(ctx context.Context, t *testing.T, page string, answer url.Values) {
	t.Helper()
	u, err := url.Parse(strings.TrimSpace(page))
	if err != nil {
		t.Error(err)
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.Query().Get("next")+"?"+answer.Encode(), nil)
	if err != nil {
		t.Error(err)
		return
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	resp.Body.Close()
}
