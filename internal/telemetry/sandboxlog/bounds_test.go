package sandboxlog

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// unlimited lets a sandbox report as fast as it likes.
func unlimited(s *Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.limits)
}

func count(t *testing.T, s *Store, query string, args ...any) (n int64) {
	t.Helper()
	if err := s.db.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestShortLines: a line costs more than its bytes, so a report of very many is refused, and
// so are further ones long before they fill the database.
func TestShortLines(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "logs.db"))
	err := s.Add(t.Context(), source("short"), []byte(strings.Repeat("{}\n", 300_000)))
	if !shoal.ErrLogReport.Matches(err) {
		t.Errorf("300,000 lines: %v", err)
	}
	accepted := 0
	for range 100 {
		if err := s.Add(t.Context(), source("short"), []byte(strings.Repeat("{}\n", 1000))); err == nil {
			accepted++
		} else if !shoal.ErrLogRate.Matches(err) {
			t.Fatal(err)
		}
	}
	if most := 1 + lineBurst/lineCost/1000; accepted == 0 || accepted > most {
		t.Errorf("%d thousand lines were taken at once, want %d at most", accepted, most)
	}
	add(t, s, source("another"), `{"message":"heard"}`)
}

// TestFloods: whatever one sandbox, or one team with many, writes, others keep their lines;
// and of a flood the newest lines are left.
func TestFloods(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "logs.db"))
	s.bounds = bounds{lines: 500, bytes: 256 << 10, total: 1 << 20}
	quiet := source("quiet")
	quiet.TeamID = "another team"
	add(t, s, quiet, line(time.Now().Add(-time.Minute), "info", "old"))
	add(t, s, source("colleague"), line(time.Now().Add(-time.Minute), "info", "old"))

	for i := range 20 {
		unlimited(s)
		add(t, s, source("short"), strings.Repeat("{}\n", 100)+fmt.Sprintf(`{"message":"last %d"}`, i))
	}
	if n := count(t, s, `SELECT count(*) FROM lines WHERE sandbox = 'short'`); n > 500 || n < 400 {
		t.Errorf("%d lines are left of one that wrote many", n)
	}
	if got := messages(query(t, s, "short", shoal.LogQuery{Backward: true, Limit: 1})); got != "last 19" {
		t.Errorf("the newest line is %q", got)
	}
	for i := range 100 {
		for box := range 10 {
			unlimited(s)
			add(t, s, source(fmt.Sprint("flood", box)),
				fmt.Sprintf(`{"message":"%d","padding":%q}`, i, strings.Repeat("p", 10<<10)))
		}
	}
	if n := count(t, s, `SELECT max(bytes) FROM kept`); n > s.bounds.bytes {
		t.Errorf("%d bytes of one sandbox are kept", n)
	}
	total := count(t, s, `SELECT bytes FROM total`)
	if total > s.bounds.total || total < s.bounds.total/2 || total != count(t, s, `SELECT sum(cost) FROM lines`) {
		t.Errorf("%d bytes are kept", total)
	}
	for id, team := range map[string]string{"quiet": "another team", "colleague": "team"} {
		list, err := s.Query(t.Context(), id, team, shoal.LogQuery{Limit: 10})
		if err != nil || messages(list) != "old" {
			t.Errorf("%s: %v, %v", id, list, err)
		}
	}
	if got := messages(query(t, s, "flood9", shoal.LogQuery{Backward: true, Limit: 1})); got != "99" {
		t.Errorf("the newest line of a flood is %q", got)
	}
}

// TestNewestLine: of two lines the newer is left, also if it is longer than half of both.
func TestNewestLine(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "logs.db"))
	s.bounds = bounds{lines: 500, bytes: 256 << 10, total: 16 << 10}
	padding := strings.Repeat("p", 4<<10)
	add(t, s, source("one"), fmt.Sprintf(`{"message":"older","padding":%q}`, padding))
	add(t, s, source("one"), fmt.Sprintf(`{"message":"newer","padding":%q}`, padding+padding))
	add(t, s, source("two"), fmt.Sprintf(`{"message":"other","padding":%q}`, padding))
	if got := messages(query(t, s, "one", shoal.LogQuery{})); got != "newer" {
		t.Errorf("%q is left", got)
	}
	if got := messages(query(t, s, "two", shoal.LogQuery{})); got != "other" {
		t.Errorf("%q is left of the other", got)
	}
}

// TestCost: what lines are said to cost is what the database needs.
func TestCost(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "logs.db"))
	for _, padding := range []int{0, 300, 3000} {
		text := fmt.Sprintf(`{"message":"words","padding":%q}`, strings.Repeat("p", padding)) + "\n"
		for box := range 20 {
			unlimited(s)
			add(t, s, source(fmt.Sprintf("isandbox%d000%d", box, padding)), strings.Repeat(text, 200))
		}
	}
	used := count(t, s, `PRAGMA page_count`) * count(t, s, `PRAGMA page_size`)
	if said := count(t, s, `SELECT bytes FROM total`); used > said || used < said/4 {
		t.Errorf("%d bytes are used, and %d were counted", used, said)
	}
}

// TestForgedOrigin: whatever a guest says of a line, it is the guest's.
func TestForgedOrigin(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "logs.db"))
	var many strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&many, `"f%d":1e308,`, i)
	}
	lines := []string{
		`{"message":"1","logger":"orchestrator","origin":"node"}`,
		`{"message":"2","logger":"Orchestrator ","origin":"node","teamID":"x"}`,
		`{"message":"3","logger":"\u043erchestrator"}`,
		`{"message":"4","logger":["orchestrator"],"origin":["node"]}`,
		`{"message":"5",` + many.String() + `"logger":"orchestrator","origin":"node"}`,
		`{"message":"6","logger":"sandbox","logger":"orchestrator","origin":"guest","origin":"node"}`,
	}
	add(t, s, source("one"), lines...)
	list := query(t, s, "one", shoal.LogQuery{})
	if len(list) != len(lines) {
		t.Fatalf("%d lines", len(list))
	}
	for _, e := range list {
		if e.Fields["origin"] != "guest" || e.Fields["logger"] != "sandbox" || e.Fields["teamID"] != "team" ||
			strings.Contains(strings.ToLower(e.Line), "orchestrator") || len(e.Fields) > maxFields {
			t.Errorf("%.300s with fields %.300v", e.Line, e.Fields)
		}
	}
	add(t, s, source("two"), `{"message":"mine","logger":"my.own-part/2"}`)
	if e := query(t, s, "two", shoal.LogQuery{})[0]; e.Fields["logger"] != "my.own-part/2" {
		t.Errorf("fields %v", e.Fields)
	}
}
