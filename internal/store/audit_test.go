package store

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// auditEntry is one of a team, the n-th second after start.
func auditEntry(n int, team string) shoal.AuditEntry {
	return shoal.AuditEntry{ID: fmt.Sprintf("%04d", n), At: start.Add(time.Duration(n) * time.Second), TeamID: team,
		Actor:     shoal.Actor{Kind: shoal.ActorUser, ID: "ann", UserID: "ann", Name: "ann@example.com"},
		Operation: "KillSandbox", TargetKind: "sandbox", TargetID: fmt.Sprint("sandbox", n), Address: "192.0.2.1",
		Agent: "agent", RequestID: "r", Status: 204, ErrorCode: "", Count: 1}
}

func auditIDs(list []shoal.AuditEntry) string {
	var ids []string
	for _, e := range list {
		ids = append(ids, strings.TrimLeft(e.ID, "0"))
	}
	return strings.Join(ids, " ")
}

func TestAudit(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s, ctx := openStore(t, location), t.Context()
		entries := []shoal.AuditEntry{auditEntry(1, "a"), auditEntry(2, "b"), auditEntry(3, "a"), auditEntry(4, ""),
			auditEntry(5, "a"), auditEntry(6, "a")}
		entries[2].Operation, entries[2].TargetKind = "CreateSandbox", "template"
		entries[4].At = entries[5].At // the IDs give the order
		entries[5].Actor = shoal.Actor{Kind: shoal.ActorKey, ID: "key", UserID: "ann", Name: "ci"}
		ok(t, s.AddAudit(ctx, entries))
		changed := entries[0]
		changed.Operation = "changed"
		ok(t, s.AddAudit(ctx, []shoal.AuditEntry{changed})) // and nothing is
		for name, c := range map[string]struct {
			query AuditQuery
			want  string
		}{
			"everything":          {AuditQuery{Everything: true}, "6 5 4 3 2 1"},
			"oldest first":        {AuditQuery{Everything: true, OldestFirst: true}, "1 2 3 4 5 6"},
			"a team":              {AuditQuery{TeamID: "a"}, "6 5 3 1"},
			"a team oldest first": {AuditQuery{TeamID: "a", OldestFirst: true}, "1 3 5 6"},
			"no team":             {AuditQuery{}, "4"},
			"a user and keys":     {AuditQuery{TeamID: "a", Actor: "ann"}, "6 5 3 1"},
			"a key":               {AuditQuery{Everything: true, Actor: "key"}, "6"},
			"a name":              {AuditQuery{Everything: true, Actor: "ci"}, "6"},
			"an operation":        {AuditQuery{Everything: true, Operation: "CreateSandbox", OldestFirst: true}, "3"},
			"a kind of targets":   {AuditQuery{TeamID: "a", Target: "sandbox", OldestFirst: true}, "1 5 6"},
			"a target":            {AuditQuery{TeamID: "a", Target: "sandbox5"}, "5"},
			"a time":              {AuditQuery{Everything: true, Since: entries[1].At, Until: entries[3].At}, "4 3 2"},
			"a time upwards":      {AuditQuery{Everything: true, OldestFirst: true, Since: entries[1].At, Until: entries[3].At}, "2 3 4"},
			"behind an entry": {AuditQuery{TeamID: "a", After: &AuditPlace{entries[5].At, entries[5].ID}},
				"5 3 1"},
			"behind it upwards": {AuditQuery{TeamID: "a", OldestFirst: true, After: &AuditPlace{entries[4].At, entries[4].ID}},
				"6"},
			"behind it and a time": {AuditQuery{TeamID: "a", Until: entries[2].At, After: &AuditPlace{entries[5].At, entries[5].ID}},
				"3 1"},
			"a bound": {AuditQuery{Everything: true, Limit: 2}, "6 5"},
		} {
			if c.query.Limit == 0 {
				c.query.Limit = 100
			}
			if got, err := s.Audit(ctx, c.query); err != nil || auditIDs(got) != c.want {
				t.Errorf("%s: %q, %v, want %q", name, auditIDs(got), err, c.want)
			}
		}
		got, err := s.Audit(ctx, AuditQuery{Everything: true, OldestFirst: true, Limit: 1})
		if err != nil || len(got) != 1 || got[0] != entries[0] {
			t.Errorf("%+v, %v, want %+v", got, err, entries[0])
		}
	})
}

// TestAuditGoes: what is too old goes, and of a team that has too many the oldest, which is told.
func TestAuditGoes(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s, ctx := openStore(t, location), t.Context()
		var entries []shoal.AuditEntry
		for n := range 10 {
			entries = append(entries, auditEntry(n+1, "a"))
		}
		ok(t, s.AddAudit(ctx, append(entries, auditEntry(11, "b"))))
		ok(t, s.DropOldAudit(ctx, entries[2].At))
		rest := func() string {
			t.Helper()
			list, err := s.Audit(ctx, AuditQuery{TeamID: "a", OldestFirst: true, Limit: 100})
			ok(t, err)
			if last := list[len(list)-1]; last.Operation == shoal.AuditTrimmed {
				return fmt.Sprint(auditIDs(list[:len(list)-1]), " and ", last.Count)
			}
			return auditIDs(list)
		}
		if got := rest(); got != "3 4 5 6 7 8 9 10" {
			t.Error(got)
		}
		ok(t, s.TrimAudit(ctx, 8))
		if got := rest(); got != "3 4 5 6 7 8 9 10" {
			t.Error(got)
		}
		ok(t, s.TrimAudit(ctx, 5))
		if got := rest(); got != "6 7 8 9 10 and 3" {
			t.Error(got)
		}
		if list, err := s.Audit(ctx, AuditQuery{TeamID: "b", Limit: 100}); err != nil || auditIDs(list) != "11" {
			t.Errorf("%s, %v", auditIDs(list), err)
		}
	})
}

// TestAuditIsAppendOnly: no query changes a row of the log, and only the retention's remove any.
func TestAuditIsAppendOnly(t *testing.T) {
	changes := regexp.MustCompile(`(?is)(UPDATE\s+audit\b|INTO\s+audit\b[^;]*DO\s+UPDATE|DELETE\s+FROM\s+audit\b)`)
	name := regexp.MustCompile(`-- name: (\w+)`)
	found := ""
	err := fs.WalkDir(os.DirFS("queries"), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile("queries/" + path)
		for query := range strings.SplitSeq(string(text), "-- name: ") {
			if changes.MatchString(query) {
				found += name.FindStringSubmatch("-- name: " + query)[1] + " "
			}
		}
		return err
	})
	if err != nil || found != "DropOldAudit DropOldestAudit " {
		t.Errorf("%q, %v", found, err)
	}
}
