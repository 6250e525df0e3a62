package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"shoal/internal/config"
	"shoal/internal/store"
)

// command runs a command line on a data directory and returns what it prints.
func command(t *testing.T, dir, line string) (string, error) {
	t.Helper()
	var c commands
	parser, err := kong.New(&c, kong.Name("shoal"), kong.Configuration(config.LoadFile), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	kctx, err := parser.Parse(append(strings.Fields(line), "--data-dir="+dir))
	if err != nil {
		return "", err
	}
	kctx.BindTo(t.Context(), (*context.Context)(nil))
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = write
	err = kctx.Run(&c.Config, &c)
	if failed := auditCommand(t.Context(), kctx, &c, err); failed != nil {
		t.Error(failed)
	}
	os.Stdout = stdout
	write.Close()
	var out bytes.Buffer
	if _, err := io.Copy(&out, read); err != nil {
		t.Fatal(err)
	}
	return out.String(), err
}

// commander carries out commands that must succeed, and returns what each printed.
func commander(t *testing.T, dir string) func(line string) string {
	return func(line string) string {
		t.Helper()
		out, err := command(t, dir, line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return out
	}
}

// TestPeopleCommands: what an operator types from a new user to their end.
func TestPeopleCommands(t *testing.T) {
	dir := t.TempDir()
	must := commander(t, dir)
	list := func(line string) (rows []map[string]any) {
		t.Helper()
		out := must(line + " --json")
		if err := json.Unmarshal([]byte(out), &rows); err != nil {
			t.Fatalf("%s: %v in %q", line, err, out)
		}
		return rows
	}
	must("team create acme")
	must("user create Ann@example.com")
	must("user link ann@example.com https://login.example 17")
	must("team admit acme ann@example.com --role=viewer")
	must("team admit acme ann@example.com --role=admin --default")
	token := strings.TrimSpace(must("user token create ann@example.com cli"))
	if !strings.HasPrefix(token, "sk_e2b_") {
		t.Errorf("token %q", token)
	}
	users := list("user list")
	if len(users) != 1 || users[0]["email"] != "ann@example.com" {
		t.Fatalf("%v", users)
	}
	team := users[0]["teams"].([]any)[0].(map[string]any)
	if team["slug"] != "acme" || team["role"] != "admin" || team["default"] != true {
		t.Errorf("%v", team)
	}
	if id := users[0]["identities"].([]any)[0].(map[string]any); id["issuer"] != "https://login.example" || id["subject"] != "17" {
		t.Errorf("%v", id)
	}
	if members := list("team members acme"); len(members) != 1 || members[0]["role"] != "admin" {
		t.Errorf("%v", members)
	}
	if tokens := list("user token list ann@example.com"); len(tokens) != 1 || tokens[0]["token"] != nil || strings.Contains(must("user token list ann@example.com"), token) {
		t.Errorf("%v", tokens)
	}

	key := strings.TrimSpace(must("key --team=acme create ci --scope=sandboxes:read,templates:read --expires=1h"))
	keys := list("key --team=acme list")
	if len(keys) != 1 || !strings.HasPrefix(key, "e2b_") || keys[0]["expiresAt"] == nil || len(keys[0]["scopes"].([]any)) != 2 {
		t.Fatalf("%q %v", key, keys)
	}
	must("key --team=acme rename " + keys[0]["id"].(string) + " build")
	if out := must("key --team=acme list"); !strings.Contains(out, "build") || strings.Contains(out, key) {
		t.Error(out)
	}
	must("team block acme --reason=unpaid")
	if out := must("team list"); !strings.Contains(out, "blocked") {
		t.Error(out)
	}
	must("team block acme --lift")
	must("team ban acme")
	if teams := list("team list"); len(teams) != 2 || teams[1]["banned"] != true || teams[1]["blocked"] != false {
		t.Errorf("%v", teams)
	}
	for _, wrong := range []string{"team create acme", "team create A_B", "user create ann@example.com", "user create ann",
		"team admit acme nobody@example.com", "team admit nothing ann@example.com", "team admit acme ann@example.com --role=king",
		"user link ann@example.com https://login.example 18", "key create --scope=everything", "key create --expires=-1h"} {
		if out, err := command(t, dir, wrong); err == nil {
			t.Errorf("%s: %s", wrong, out)
		}
	}
	must("user unlink ann@example.com https://login.example")
	must("team dismiss acme ann@example.com")
	must("user rm ann@example.com")
	st, err := store.Open(t.Context(), filepath.Join(dir, "shoal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if left, err := st.Users(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}
