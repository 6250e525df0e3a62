package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDocument(t *testing.T) {
	one := series{table: "One", pkg: "a"}
	clients := []*client{
		{series: one, version: "2.0.0", results: []result{{"Run", ok, ""}, {"Fork", fails, "it\n  did not"}}},
		{series: one, version: "1.0.0", results: []result{{"Run", ok, ""}, {"Stop", absent, ""}}},
		{series: series{table: "Two", pkg: "b"}, version: "1.0.0", results: []result{{"Run", ok, ""}}},
	}
	const want = `
## One

| | ` + "`a` 2.0.0 | `a` 1.0.0" + ` |
|---|---|---|
| Run | ok | ok |
| Fork | fails (1) | n/a |
| Stop | n/a | n/a |

1. Fork, ` + "`a`" + ` 2.0.0: it did not

## Two

| | ` + "`b` 1.0.0" + ` |
|---|---|
| Run | ok |
`
	tables := render(clients)
	if tables != want {
		t.Errorf("%s\nwant\n%s", tables, want)
	}
	if err := failures(clients); err == nil || failures(clients[1:]) != nil {
		t.Errorf("failures: %v, and %v without them", err, failures(clients[1:]))
	}

	file := filepath.Join(t.TempDir(), "document.md")
	if err := os.WriteFile(file, []byte("head\n"+begins+"\nold\n"+ends+"\ntail\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is as after the first
		if err := renew(file, tables); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if want := "head\n" + begins + "\n" + tables + "\n" + ends + "\ntail\n"; err != nil || string(got) != want {
			t.Errorf("%v\n%s\nwant\n%s", err, got, want)
		}
	}
	if err := os.WriteFile(file, []byte("no place for tables"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := renew(file, tables); err == nil {
		t.Error("tables went nowhere")
	}
}

func TestReadResults(t *testing.T) {
	got, err := readResults([]byte("a warning\n{\"feature\":\"A\",\"outcome\":\"fails\",\"why\":\"b\"}\n{\"other\":1}\n"))
	if err != nil || len(got) != 1 || got[0] != (result{"A", fails, "b"}) {
		t.Errorf("%v %v", got, err)
	}
	if got, err := readResults([]byte("Traceback\n")); err == nil || !strings.Contains(err.Error(), "Traceback") {
		t.Errorf("%v %v", got, err)
	}
}
