package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
)

const someBuild = "aaaaaaaa-0000-4000-8000-000000000001"

func messages(t *testing.T, list []Entry, err error) []string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, e := range list {
		texts = append(texts, e.Message)
	}
	return texts
}

func openLogs(t *testing.T) *Logs {
	t.Helper()
	logs, err := OpenLogs(filepath.Join(t.TempDir(), "logs"))
	if err != nil {
		t.Fatal(err)
	}
	return logs
}

func openLog(t *testing.T, logs *Logs) *logFile {
	t.Helper()
	f, err := logs.append(someBuild)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.drop() })
	return f
}

func TestPages(t *testing.T) {
	logs := openLogs(t)
	f := openLog(t, logs)
	for i := range 10 {
		f.Write([]Level{Debug, Info, Warn, Error, "odd"}[i%5], "", fmt.Sprint(i))
	}
	cases := []struct {
		level         Level
		offset, limit int
		want          []string
	}{
		{"", 0, 100, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}},
		{"", 8, 100, []string{"8", "9"}},
		{"", 3, 2, []string{"3", "4"}}, // after the last place
		{"", 10, 100, nil},
		{"", 100, 100, nil},
		{"", 9, 100, []string{"9"}},
		{"", 0, 0, nil},
		{Info, 2, 3, []string{"3", "4", "6"}}, // an unknown level counts as info
		{Info, 5, 100, []string{"7", "8", "9"}},
		{Warn, 1, 100, []string{"3", "7", "8"}},
		{Error, 0, 100, []string{"3", "8"}},
		{Error, 2, 100, nil},
	}
	for range 2 { // with and without remembered places
		for _, c := range cases {
			page, err := logs.Page(t.Context(), someBuild, c.level, c.offset, c.limit)
			if got := messages(t, page, err); !slices.Equal(got, c.want) {
				t.Errorf("%s %d+%d: %v, want %v", c.level, c.offset, c.limit, got, c.want)
			}
		}
	}
	f.Write(Error, "", "10")
	page, err := logs.Page(t.Context(), someBuild, "", 10, 100)
	if got := messages(t, page, err); !slices.Equal(got, []string{"10"}) {
		t.Errorf("a new line: %v", got)
	}
	if page, err := logs.Page(t.Context(), "bbbbbbbb-0000-4000-8000-000000000001", "", 0, 1); err != nil ||
		page != nil {
		t.Errorf("a build without a log: %v %v", page, err)
	}
	if _, err := logs.Page(t.Context(), "../../etc/passwd", "", 0, 1); err == nil {
		t.Error("a path was accepted as a build ID")
	}
}

func TestRange(t *testing.T) {
	logs := openLogs(t)
	at := time.UnixMilli(1000)
	logs.now = func() time.Time { return at }
	f := openLog(t, logs)
	for i := range 4 {
		f.Write([]Level{Info, Debug}[i%2], "", fmt.Sprint(i))
		at = at.Add(time.Second)
	}
	for _, c := range []struct {
		level    Level
		from     int64
		backward bool
		limit    int
		want     []string
	}{
		{"", 0, false, 100, []string{"0", "1", "2", "3"}},
		{"", 2000, false, 100, []string{"1", "2", "3"}},
		{"", 2000, false, 1, []string{"1"}},
		{Info, 2000, false, 100, []string{"2"}},
		{"", 9000, true, 100, []string{"3", "2", "1", "0"}},
		{"", 3000, true, 100, []string{"1", "0"}},
		{"", 3000, true, 1, []string{"1"}},
		{"", 0, true, 100, nil},
		{"", 0, false, 0, nil},
		{"", 9000, true, 0, nil},
	} {
		list, err := logs.Range(t.Context(), someBuild, c.level, time.UnixMilli(c.from), c.backward, c.limit)
		if got := messages(t, list, err); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestTornLine: an incomplete line after a crash is skipped, and does not spoil others.
func TestTornLine(t *testing.T) {
	logs := openLogs(t)
	f := openLog(t, logs)
	f.Write(Info, "", "whole")
	if _, err := f.file.WriteString(`{"t":"2026-`); err != nil {
		t.Fatal(err)
	}
	page, err := logs.Page(t.Context(), someBuild, "", 0, 100)
	if got := messages(t, page, err); !slices.Equal(got, []string{"whole"}) {
		t.Errorf("%v", got)
	}
	again := openLog(t, logs)
	if err := again.finish(Error, "", "last"); err != nil {
		t.Fatal(err)
	}
	page, err = logs.Page(t.Context(), someBuild, "", 1, 100)
	if got := messages(t, page, err); !slices.Equal(got, []string{"last"}) {
		t.Errorf("%v", got)
	}
}

func TestLogIsBounded(t *testing.T) {
	logs := openLogs(t)
	f := openLog(t, logs)
	f.Write(Info, "", strings.Repeat("x", maxMessage+1))
	f.size = maxLogFile + 1
	f.Write(Info, "", "dropped, with notice")
	f.Write(Info, "", "dropped")
	if err := f.finish(Error, "", "last"); err != nil {
		t.Fatal(err)
	}
	f.Write(Info, "", "after the end")
	page, err := logs.Page(t.Context(), someBuild, "", 0, 100)
	got := messages(t, page, err)
	if len(got) != 3 || len(got[0]) != maxMessage+len(" [cut]") || !strings.Contains(got[1], "full") ||
		got[2] != "last" {
		t.Errorf("%d lines: %.40q", len(got), got)
	}
}

// TestFollow: a reader that follows writers gets each line once.
func TestFollow(t *testing.T) {
	logs := openLogs(t)
	f := openLog(t, logs)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				f.Write(Info, "", fmt.Sprint(i))
			}
		})
	}
	counts := map[string]int{}
	for offset, end := 0, time.Now().Add(20*time.Second); offset < 800; {
		page, err := logs.Page(context.Background(), someBuild, Info, offset, 7)
		for _, text := range messages(t, page, err) {
			counts[text]++
		}
		offset += len(page)
		if time.Now().After(end) {
			t.Fatalf("%d lines after 20 s", offset)
		}
	}
	wg.Wait()
	for text, n := range counts {
		if n != 4 {
			t.Errorf("line %s was delivered %d times", text, n)
		}
	}
}

func TestLogsAreSwept(t *testing.T) {
	logs := openLogs(t)
	openLog(t, logs).Write(Info, "", "x")
	path, _ := logs.path(someBuild)
	logs.now = func() time.Time { return time.Now().Add(shoal.LogRetention - time.Minute) }
	if err := logs.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	logs.now = func() time.Time { return time.Now().Add(shoal.LogRetention + time.Minute) }
	if err := logs.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the old log is still there: %v", err)
	}
}
