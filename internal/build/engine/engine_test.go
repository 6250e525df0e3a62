package engine

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"shoal/internal/build"
	"shoal/internal/shoal"
)

func TestExpand(t *testing.T) {
	env := map[string]string{"A": "one", "LONG_1": "$A"}
	for in, want := range map[string]string{
		"":                        "",
		"$A-${A}":                 "one-one",
		"${PATH}:/my/path":        standardPath + ":/my/path",
		"$HOME/x":                 "/root/x",
		"$LONG_1":                 "$A", // once
		"$UNKNOWN.":               ".",
		"$(id) `id` \\$A 'x\"":    "$(id) `id` \\one 'x\"",
		"$ $$ $1 ${A ${A:-b} ${}": "$ $$ $1 ${A ${A:-b} ${}",
		"a\nb$":                   "a\nb$",
	} {
		if got := expand(in, env); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestSourceInArchive(t *testing.T) {
	for source, want := range map[string]string{
		".": "", "./": "", "*.txt": "", "folder/*": "folder", "a/b/c.txt": "a/b/c.txt", "./a/": "a", "a/**/b": "a", "a/[bc]/d": "a",
	} {
		if got := sourceInArchive(source); got != want {
			t.Errorf("%q: %q, want %q", source, got, want)
		}
	}
}

type written []string

func (w *written) Write(level build.Level, step, message string) {
	*w = append(*w, string(level)+" "+step+" "+message)
}

func TestLines(t *testing.T) {
	var log written
	l := &lines{log: &log, level: build.Info, step: "2", prefix: "[builder 2/3]"}
	for _, piece := range []string{"one\ntw", "o\n\n10%\r", "20%\r\nend"} {
		l.take(false, []byte(piece))
	}
	l.take(true, []byte("oops"))
	l.end()
	want := written{"info 2 [builder 2/3] [stdout]: one", "info 2 [builder 2/3] [stdout]: two", "info 2 [builder 2/3] [stdout]: ",
		"info 2 [builder 2/3] [stdout]: 20%", "info 2 [builder 2/3] [stdout]: end", "info 2 [builder 2/3] [stderr]: oops"}
	if !slices.Equal(log, want) {
		t.Errorf("%q", log)
	}
	if l.words() != "one\ntwo\n\n20%\nend\noops" {
		t.Errorf("%q", l.words())
	}
	for range 3 * lastLines {
		l.take(false, []byte("x\n"))
	}
	if len(l.last) != lastLines {
		t.Errorf("%d lines are remembered", len(l.last))
	}
}

func TestCache(t *testing.T) {
	c, err := OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const scope, other = "0b8a3ded-4489-4722-afd1-1d82e64ec2d5", "0b8a3ded-4489-4722-afd1-1d82e64ec2d6"
	yes := func(string) bool { return true }
	k := key("").next("RUN", "x")
	for _, different := range []key{key("").next("RUN", "y"), key("").next("RUNx"), k.next(), key("").next("RU", "Nx")} {
		if different == k {
			t.Error("different phases have the same key")
		}
	}
	o := outcome{Layers: []string{"sha256:1", "sha256:2"}, Context: shoal.BuildContext{User: "u", Env: map[string]string{"A": "1"}}}
	if err := c.put(scope, k, o); err != nil {
		t.Fatal(err)
	}
	if got, ok := c.get(scope, k, yes); !ok || !slices.Equal(got.Layers, o.Layers) || got.Context.Env["A"] != "1" {
		t.Errorf("%v %v", got, ok)
	}
	if _, ok := c.get(other, k, yes); ok {
		t.Error("another team's layer")
	}
	if _, ok := c.get(scope, k, func(d string) bool { return d == "sha256:1" }); ok {
		t.Error("a layer whose image is gone")
	}
	if err := c.put("../escape", k, o); err == nil {
		t.Error("a scope that is none")
	}
	if images, err := c.images(); err != nil || !slices.Equal(images, o.Layers) {
		t.Errorf("%v %v", images, err)
	}
	if err := c.sweep(time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	path, err := c.path(scope, k)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.get(scope, k, yes); !ok { // a use makes it young
		t.Error("lost")
	}
	if err := c.sweep(time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, old, old); err != nil {
		t.Error("what is used was forgotten")
	}
	if err := c.sweep(time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(c.dir, "*", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
