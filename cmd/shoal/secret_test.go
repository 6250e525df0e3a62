package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/internal/config"
	"shoal/internal/keyring"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// TestSecretCommands: what an operator types from a secret's beginning to its end, over a change of the
// key. No value is printed.
func TestSecretCommands(t *testing.T) {
	dir := t.TempDir()
	must := commander(t, dir)
	must("team create acme")
	value := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(value, []byte("hidden value"), 0o600); err != nil {
		t.Fatal(err)
	}
	set := func(line string) (made secretLine) {
		t.Helper()
		out := must("secret set --team=acme --json --file=" + value + " " + line)
		if err := json.Unmarshal([]byte(out), &made); err != nil || strings.Contains(out, "hidden") {
			t.Fatalf("%v: %s", err, out)
		}
		return made
	}
	made := set("My_Key --metadata=owner=ops")
	if made.Name != "my_key" || made.Version != 1 || made.Metadata["owner"] != "ops" {
		t.Errorf("%+v", made)
	}
	if again := set("my_key"); again.Version != 2 || again.ID != made.ID || again.Metadata["owner"] != "ops" {
		t.Errorf("%+v", again)
	}
	for _, line := range []string{"secret list --team=acme", "secret list --team=acme --json"} {
		if out := must(line); !strings.Contains(out, "my_key") || strings.Contains(out, "hidden") {
			t.Error(out)
		}
	}
	if out := must("secret list"); strings.Contains(out, "my_key") {
		t.Errorf("another team's: %s", out)
	}
	refuses(t, dir, "secret set --file="+value+" sec_a", shoal.ErrSecret)
	refuses(t, dir, "secret rm my_key", shoal.ErrSecretNotFound)
	before := must("secret list --team=acme --json")
	if out := must("secret key rotate"); !strings.Contains(out, "1 values are sealed anew") {
		t.Error(out)
	}
	if out := must("secret key rotate --all"); !strings.Contains(out, "1 values") {
		t.Error(out)
	}
	must("identity rotate")
	if after := must("secret list --team=acme --json"); after != before {
		t.Errorf("before %s, after %s", before, after)
	}
	if got := set("my_key"); got.Version != 3 {
		t.Errorf("%+v", got)
	}
	refuses(t, t.TempDir(), "secret key rotate --database="+dir+"/shoal.db", shoal.ErrSealed) // with another key
	if out := must("audit list --team=acme"); !strings.Contains(out, "secret set") || strings.Contains(out, "hidden") {
		t.Error(out)
	}
	must("secret rm MY_KEY --team=acme")
	if out := must("secret list --team=acme --json"); out != "" {
		t.Error(out)
	}
}

// TestKilledRotation: a change of the key is killed again and again. All values can be read at any time by
// what is in the data directory then, an api that runs goes on, and in the end there is one key.
func TestKilledRotation(t *testing.T) {
	dir := t.TempDir()
	cfg := &config.Config{DataDir: dir}
	open := func() (*store.Store, *keyring.Ring) {
		t.Helper()
		st, err := store.Open(t.Context(), cfg.DatabaseLocation())
		must(t, err)
		ring, err := cfg.Keyring()
		must(t, err)
		st.SealBy(ring)
		return st, ring
	}
	commander(t, dir)("team create acme")
	running, ring := open() // as an api that runs all the time
	defer running.Close()
	first := ring.First()
	team, err := running.TeamBySlug(t.Context(), "acme")
	must(t, err)
	const many = 300
	for i := range many {
		must(t, running.AddSecret(t.Context(), shoal.Secret{ID: shoal.NewSecretID(), TeamID: team.ID, Name: fmt.Sprint("n", i),
			Version: 1, CreatedAt: time.Now(), UpdatedAt: time.Now()}, fmt.Sprint("value ", i), many))
	}
	readable := func(st *store.Store) {
		t.Helper()
		for i := range many {
			if _, value, err := st.SecretValue(t.Context(), team.ID, fmt.Sprint("n", i)); err != nil || value != fmt.Sprint("value ", i) {
				t.Fatalf("n%d: %q, %v", i, value, err)
			}
		}
	}
	killed := 0
	for ended, wait := false, 10*time.Millisecond; !ended; wait += 20 * time.Millisecond {
		cmd := exec.Command(os.Args[0], "secret", "key", "rotate", "--data-dir", dir, "--run-dir", dir)
		cmd.Env = append(os.Environ(), asShoal+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		must(t, cmd.Start())
		kill := time.AfterFunc(wait+rand.N(20*time.Millisecond), func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		kill.Stop()
		if ended = err == nil; !ended {
			if cmd.ProcessState.Exited() {
				t.Fatalf("it has failed: %s", said.Bytes())
			}
			killed++
		}
		next, _ := open()
		readable(next)
		must(t, next.Close())
		readable(running)
		if _, err := running.ChangeSecret(t.Context(), team.ID, "n0", "value 0", nil, time.Now()); err != nil {
			t.Fatalf("while it runs: %v", err)
		}
	}
	last, ring := open()
	defer last.Close()
	if ring.First() == first || ring.Has(first) {
		t.Error("the former key is there still")
	}
	state, err := store.AskSeals(t.Context(), cfg.DatabaseLocation())
	if err != nil || len(state.Heads) != 1 || state.Heads[0] != ring.First() {
		t.Errorf("%+v, %v", state, err)
	}
	t.Logf("killed %d times", killed)
}

// TestFillsOfTwoAPIs: a machine asks over its RPC, and another api answers when one was killed; the value is
// in no file and no log of theirs.
func TestFillsOfTwoAPIs(t *testing.T) {
	two := openTwo(t)
	const hidden = "unmistakable-Value-0123456789"
	call := func(api int, method, path, body string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, two.urls[api]+path, strings.NewReader(body))
		must(t, err)
		r.Header.Set("X-API-Key", shoal.DevAPIKey)
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		must(t, err)
		defer resp.Body.Close()
		var text bytes.Buffer
		_, err = text.ReadFrom(resp.Body)
		must(t, err)
		if resp.StatusCode >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, text.Bytes())
		}
		return text.String()
	}
	call(0, "POST", "/secrets", `{"name":"key","value":"`+hidden+`"}`)
	two.node.Put(shoal.Sandbox{State: shoal.StateRunning, EndAt: time.Now().Add(time.Hour), Spec: shoal.Spec{
		SandboxID: "i1", TeamID: shoal.DevTeamID, TemplateID: "base",
		WorkloadTokens: map[string]shoal.WorkloadToken{"t": {Audience: "a", Type: "JWT-SVID"}},
		Network: shoal.Network{Transforms: map[string]shoal.Transform{
			"api.example.com": {Headers: map[string]string{"X": "${e2b.secrets.key} ${e2b.identity.tokens.t}"}}}}}})
	secret := shoal.Placeholder{Kind: shoal.PlaceholderSecret, Name: "key"}
	token := shoal.Placeholder{Kind: shoal.PlaceholderToken, Name: "t"}
	ask := func() (map[shoal.Placeholder]string, error) {
		return two.node.Fill(t.Context(), shoal.Fill{SandboxID: "i1", Domain: "api.example.com", Wanted: []shoal.Placeholder{secret, token}})
	}
	eventually(t, "both apis wait for questions", func() bool { return two.node.Fillers() == 2 })
	got, err := ask()
	if err != nil || got[secret] != hidden || strings.Count(got[token], ".") != 2 {
		t.Fatalf("%v", err)
	}
	if _, err := two.node.Fill(t.Context(), shoal.Fill{SandboxID: "i1", Domain: "evil.example", Wanted: []shoal.Placeholder{secret}}); !shoal.ErrFillRefused.Matches(err) {
		t.Errorf("another domain: %v", err)
	}
	if !strings.Contains(call(0, "GET", "/.well-known/jwks.json", ""), `"kid"`) ||
		call(0, "GET", "/.well-known/jwks.json", "") != call(1, "GET", "/.well-known/jwks.json", "") {
		t.Error("the apis publish different keys")
	}
	must(t, two.processes[0].Process.Kill())
	eventually(t, "the other api answers", func() bool {
		got, err := ask()
		return err == nil && got[secret] == hidden
	})
	for _, dir := range two.dirs {
		must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if bytes.Contains(data, []byte(hidden)) || bytes.Contains(data, []byte(hex.EncodeToString([]byte(hidden)))) {
				t.Errorf("%s has the value", path)
			}
			return err
		}))
	}
	for i, said := range two.said {
		if strings.Contains(said.String(), hidden) {
			t.Errorf("api %d has logged the value", i)
		}
	}
}
