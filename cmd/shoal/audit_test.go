package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// unauditedCommands look only, or change nothing that is in the database, or are told by the API.
var unauditedCommands = []string{"up", "down", "connections", "api", "orchestrator", "proxy", "doctor", "trust", "key list",
	"team list", "team members", "user list", "user token list", "event list", "event follow", "webhook list", "volume list", "volume usage",
	"webhook deliveries", "template build", "template list", "image import", "image list", "image rm", "check",
	"version", "service list", "audit list", "audit export", "tier list",
	"switch list", "secret list", "migrate status", "migrate verify", "log-level",
	"firecracker import", "firecracker download", "firecracker list", "firecracker verify", "firecracker rm",
	"firecracker inspect", "kernel import", "kernel from-debian", "kernel list", "kernel rm"}

// TestCommandsAreAudited: of each command it is decided whether the audit log tells of it.
func TestCommandsAreAudited(t *testing.T) {
	parser, err := kong.New(&commands{}, kong.Name("shoal"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, leaf := range parser.Model.Leaves(true) {
		name := commandName(leaf)
		known[name] = true
		_, audited := auditedCommands[name]
		if audited == slices.Contains(unauditedCommands, name) {
			t.Errorf("%q is told: %v, and not told: %v", name, audited, audited)
		}
	}
	for name := range auditedCommands {
		if !known[name] {
			t.Errorf("there is no command %q", name)
		}
	}
}

// auditLine is what a reader of the export looks for.
type auditLine struct {
	TeamID, Operation, ErrorCode string
	Actor                        struct{ Kind, ID, Name string }
	Target                       *struct{ ID string }
}

// TestAuditCommands: what an operator does on the machine is told, and can be listed and exported.
func TestAuditCommands(t *testing.T) {
	dir := t.TempDir()
	must := commander(t, dir)
	t.Setenv("SUDO_USER", "ann")
	t.Setenv("SUDO_UID", "1017")
	must("team create acme")
	must("user create bob@example.com")
	must("team admit acme bob@example.com")
	key := strings.TrimSpace(must("key --team=acme create ci"))
	if _, err := command(t, dir, "team admit acme nobody@example.com"); err == nil {
		t.Error("nobody was admitted")
	}
	must("team list")
	export := func(choice string) (list []auditLine) {
		t.Helper()
		out := must("audit export " + choice)
		if strings.Contains(out, key) {
			t.Error("the log has a key")
		}
		for line := range strings.Lines(out) {
			var e auditLine
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			list = append(list, e)
		}
		return list
	}
	all := export("")
	var names []string
	for _, e := range all {
		names = append(names, e.Operation)
		if e.Actor.Kind != "host" || e.Actor.Name != "ann" || e.Actor.ID != "1017" {
			t.Errorf("%+v", e)
		}
	}
	want := "shoal team create, shoal user create, shoal team admit, shoal key create, shoal team admit"
	if got := strings.Join(names, ", "); got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	if e := all[4]; e.ErrorCode != "failed" || e.Target == nil || e.Target.ID != "acme" || e.TeamID == "" || all[2].ErrorCode != "" {
		t.Errorf("%+v", e)
	}
	if got := export("--team=acme"); len(got) != 4 {
		t.Errorf("%d of the team", len(got))
	}
	if got := export("--target=user --since=1h"); len(got) != 1 || got[0].Target.ID != "bob@example.com" {
		t.Errorf("%+v", got)
	}
	if got := export("--until=1h"); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if out := must("audit list --limit=2"); strings.Count(out, "\n") != 3 || !strings.Contains(out, "host ann") || !strings.Contains(out, "failed") {
		t.Error(out)
	}
	if out := must("audit list --json --actor=ann --operation=nothing"); out != "" {
		t.Error(out)
	}
	for _, wrong := range []string{"audit list --since=yesterday", "audit list --team=nothing", "audit export --until=-1h"} {
		if out, err := command(t, dir, wrong); err == nil {
			t.Errorf("%s: %s", wrong, out)
		}
	}
}

func TestParseMoment(t *testing.T) {
	if at, err := parseMoment("2026-11-30T10:00:00Z"); err != nil || at.Unix() != 1796032800 {
		t.Errorf("%v, %v", at, err)
	}
	if at, err := parseMoment("24h"); err != nil || time.Since(at).Round(time.Minute) != 24*time.Hour {
		t.Errorf("%v, %v", at, err)
	}
}
