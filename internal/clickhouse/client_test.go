package clickhouse_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/internal/clickhouse"
	"shoal/internal/clickhouse/clickhousetest"
)

type texts struct {
	Text string
	List []string
}

// TestParameters: whatever somebody writes arrives as it was, and is no part of the statement.
func TestParameters(t *testing.T) {
	db := clickhousetest.Start(t).Client("system")
	for _, want := range []string{"", "plain", "it's", `"double"`, `back\slash`, `\`, `\\'`, `\n`, "two\nlines", "a\ttab", "\r",
		"nul\x00inside", "日本 ☃ 🐟", "'; DROP TABLE x; --", "{x:String}", "%20+&=?#", "[1,'2']", `\N`, strings.Repeat("long ", 1000)} {
		list := []string{want, "other"}
		err := clickhouse.Select(t.Context(), db, "SELECT {text:String} AS Text, {list:Array(String)} AS List",
			clickhouse.Params{"text": want, "list": list}, func(got texts) error {
				if got.Text != want || !slices.Equal(got.List, list) {
					t.Errorf("%q came as %q and %q", want, got.Text, got.List)
				}
				return nil
			})
		if err != nil {
			t.Errorf("%q: %v", want, err)
		}
	}
	if err := db.Exec(t.Context(), "SELECT {x:Float64}", clickhouse.Params{"x": 1.5}); err == nil {
		t.Error("a parameter of a type that is not one was taken")
	}
}

type row struct {
	N    int64   `json:"n"`
	At   string  `json:"at"`
	Text string  `json:"text"`
	F    float64 `json:"f"`
}

// TestInsert: rows come back as they went in, and outlive the server.
func TestInsert(t *testing.T) {
	server := clickhousetest.Start(t)
	db := server.Client("some_new_one")
	if err := db.Exec(t.Context(), "SELECT 1", nil); !clickhouse.Is(err, clickhouse.CodeUnknownDatabase) {
		t.Fatalf("a database that is not there: %v", err)
	}
	if err := db.MakeDatabase(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Exec(t.Context(), "CREATE TABLE rows (n Int64, at DateTime64(6, 'UTC'), text String, f Float64) "+
		"ENGINE = MergeTree ORDER BY n", nil); err != nil {
		t.Fatal(err)
	}
	const count = 5000
	var want []row
	for n := range count {
		want = append(want, row{int64(n) << 40, "2026-11-30 10:00:00.000123", fmt.Sprintf("<%d> \\ ' \n\t\x00 é", n), 0.25})
	}
	if err := clickhouse.Insert(t.Context(), db, "rows", want); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if err := db.Exec(t.Context(), "SELECT 1", nil); err == nil || strings.Contains(err.Error(), "query") {
		t.Errorf("without a server: %v", err)
	}
	server.Start()
	var got []row
	if err := clickhouse.Select(t.Context(), db, "SELECT * FROM rows ORDER BY n", nil, func(r row) error {
		got = append(got, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d rows, the first is %+v, want %+v", len(got), got[:min(len(got), 1)], want[0])
	}
	if err := clickhouse.Insert(t.Context(), db, "rows", []map[string]any{{"n": "no number"}}); err == nil {
		t.Error("a row that is none was taken")
	}
}

func TestErrors(t *testing.T) {
	server := clickhousetest.Start(t)
	db := server.Client("system")
	err := db.Exec(t.Context(), "SELECT * FROM nothing_here", nil)
	if !clickhouse.Is(err, clickhouse.CodeUnknownTable) || !strings.Contains(err.Error(), "nothing_here") {
		t.Errorf("a table that is not there: %v", err)
	}
	if err := db.Exec(t.Context(), "SELEKT", nil); err == nil || clickhouse.Is(err, clickhouse.CodeUnknownTable) {
		t.Errorf("what is no SQL: %v", err)
	}
	options := server.Options("system")
	options.Password = "wrong"
	stranger, err := clickhouse.New(options)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := stranger.Exec(t.Context(), "SELECT 1", nil); !clickhouse.Is(err, clickhouse.CodeWrongPassword) {
		t.Errorf("a wrong password: %v", err)
	}
	ended := errors.New("enough")
	err = clickhouse.Select(t.Context(), db, "SELECT number AS N FROM numbers(10)", nil, func(row) error { return ended })
	if !errors.Is(err, ended) {
		t.Errorf("the visitor's own: %v", err)
	}
}

// TestOthers: what is no ClickHouse, or hangs, is an error in time and gets no password elsewhere.
func TestOthers(t *testing.T) {
	asked := make(chan struct{}, 10)
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
	defer other.Close()
	release := make(chan struct{})
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("database") {
		case "moved":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		case "page":
			fmt.Fprint(w, "<html>")
		case "hangs":
			<-release
		}
	}))
	defer odd.Close()
	defer close(release)
	for _, name := range []string{"moved", "page", "hangs"} {
		db, err := clickhouse.New(clickhouse.Options{URL: odd.URL + "/" + name, Password: "hush"})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		err = clickhouse.Select(ctx, db, "SELECT 'of somebody'", nil, func(row) error { return nil })
		if err == nil || strings.Contains(err.Error(), "somebody") || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(asked) > 0 {
		t.Error("a redirect was followed")
	}
	if _, err := clickhouse.New(clickhouse.Options{URL: "http://me:hush@[::1"}); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("an address that is none: %v", err)
	}
}
