package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/build"
	"shoal/internal/shoal"
)

// TestEnvOfOneStep: a step's values are made of what was before it, as in a Dockerfile.
func TestEnvOfOneStep(t *testing.T) {
	var r run
	for _, pairs := range [][]string{{"A", "hello"}, {"A", "bye", "B", "$A", "NEW", "x", "C", "$NEW/$A"}} {
		if err := r.env(pairs); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.context.Env; got["A"] != "bye" || got["B"] != "hello" || got["C"] != "x/hello" {
		t.Errorf("%v", got)
	}
}

func TestSourceInArchive(t *testing.T) {
	for source, want := range map[string]string{
		".": "", "./": "", "*.txt": "", "folder/*": "folder", "a/b/c.txt": "a/b/c.txt", "./a/": "a",
		"a/**/b": "a", "a/[bc]/d": "a",
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
	want := written{"info 2 [builder 2/3] [stdout]: one", "info 2 [builder 2/3] [stdout]: two",
		"info 2 [builder 2/3] [stdout]: ",
		"info 2 [builder 2/3] [stdout]: 20%", "info 2 [builder 2/3] [stdout]: end",
		"info 2 [builder 2/3] [stderr]: oops"}
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
		t.Errorf("%d lines were kept", len(l.last))
	}
}

// TestLongLines: a line without end is taken in parts, and neither the log nor a failure's
// reason gets long lines.
func TestLongLines(t *testing.T) {
	var log written
	l := &lines{log: &log}
	for _, piece := range []string{strings.Repeat("x", 10*maxLine), strings.Repeat("y", 10*maxLine) + "\n"} {
		l.take(true, []byte(piece))
	}
	l.end()
	size := 0
	for _, line := range log {
		size += strings.Count(line, "x") + strings.Count(line, "y")
		if len(line) > maxLine+100 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	if size != 20*maxLine {
		t.Errorf("%d bytes were logged", size)
	}
	if n := len(l.complaint()); n == 0 || n > lastCries*(maxCry+1) {
		t.Errorf("a reason of %d bytes", n)
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
	for _, different := range []key{key("").next("RUN", "y"), key("").next("RUNx"), k.next(),
		key("").next("RU", "Nx")} {
		if different == k {
			t.Error("different phases have the same key")
		}
	}
	o := outcome{Layers: []string{"sha256:1", "sha256:2"},
		Context: shoal.BuildContext{User: "u", Env: map[string]string{"A": "1"}}}
	if err := c.put(scope, k, o); err != nil {
		t.Fatal(err)
	}
	if got, ok := c.get(scope, k, yes); !ok || !slices.Equal(got.Layers, o.Layers) ||
		got.Context.Env["A"] != "1" {
		t.Errorf("%v %v", got, ok)
	}
	if _, ok := c.get(other, k, yes); ok {
		t.Error("another team's layer")
	}
	if _, ok := c.get(scope, k, func(d string) bool { return d == "sha256:1" }); ok {
		t.Error("an outcome was returned although its image is gone")
	}
	if err := c.put("../escape", k, o); err == nil {
		t.Error("an invalid scope was accepted")
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
	if _, ok := c.get(scope, k, yes); !ok { // a use renews the entry
		t.Error("lost")
	}
	if err := c.sweep(time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, old, old); err != nil {
		t.Error("a used entry was removed")
	}
	if err := c.sweep(time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(c.dir, "*", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestCacheBound: the entries that were used last stay.
func TestCacheBound(t *testing.T) {
	c, err := OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const scope = "0b8a3ded-4489-4722-afd1-1d82e64ec2d5"
	for n, layers := range [][]string{{"base", "old"}, {"base", "middle"}, {"base", "new"}} {
		k := key("").next(layers...)
		if err := c.put(scope, k, outcome{Layers: layers}); err != nil {
			t.Fatal(err)
		}
		path, err := c.path(scope, k)
		if err != nil {
			t.Fatal(err)
		}
		used := time.Now().Add(time.Duration(n-3) * time.Hour)
		if err := os.Chtimes(path, used, used); err != nil {
			t.Fatal(err)
		}
	}
	size := func(digest string) int64 {
		if digest == "base" {
			return 0
		}
		return 10
	}
	for _, step := range []struct {
		limit int64
		left  int
	}{{0, 3}, {30, 3}, {29, 2}, {10, 1}} {
		if err := c.bound(step.limit, size); err != nil {
			t.Fatal(err)
		}
		if images, err := c.images(); err != nil || len(images) != 2*step.left ||
			!slices.Contains(images, "new") {
			t.Errorf("limit %d: %v %v", step.limit, images, err)
		}
	}
}

// TestWithin: the error names what took too long and what to do, but only if the limit was
// the cause.
func TestWithin(t *testing.T) {
	wait := func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("stopped: %w", ctx.Err()) }
	err := within(t.Context(), time.Millisecond, "packing", "pack less", wait)
	var failure *build.Failure
	if !errors.As(err, &failure) ||
		failure.Message != "packing took longer than 1ms, which is the limit; pack less" {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := within(ctx, time.Hour, "packing", "pack less", wait); errors.As(err, &failure) ||
		!errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if err := within(t.Context(), time.Hour, "packing", "",
		func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
}

// TestMachineFailure: what this machine lacks is reported with a cause and a fix, but
// without details of the machine.
// TestRuntimeOfSteps: steps run by the runtime that the template's sandboxes will have.
func TestRuntimeOfSteps(t *testing.T) {
	wish := shoal.RuntimeWish{Name: "r", Required: true}
	r := &run{job: build.Job{Runtime: wish}}
	if got := r.buildOf([]string{"sha256:a"}).Runtime; got != wish {
		t.Errorf("%+v", got)
	}
}

func TestMachineFailure(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("open: %w", shoal.ErrNetworkExhausted.New("no network slot is free")),
			"no network slot is free. Every network slot of the machine is in use. Kill sandboxes, or widen host-cidr and veth-cidr."},
		{shoal.ErrEnvdTimeout.Wrap(errors.New("x"),
			"the guest's daemon did not answer; its console ends with:\nsecret"),
			"the guest's daemon did not answer; its console ends with. The guest started"},
		{fmt.Errorf("write: %w", unix.ENOSPC), "`shoal gc`"},
		{errors.New("what?"), ""},
	} {
		got := machineFailure(c.err)
		if !strings.Contains(got, c.want) || c.want == "" && got != "" || strings.Contains(got, "secret") {
			t.Errorf("%v: %q", c.err, got)
		}
	}
}

// TestVariablesAreBounded: steps of a few bytes cannot fill the machine's memory, nor keep
// a processor busy, by variables that grow.
func TestVariablesAreBounded(t *testing.T) {
	var r run
	err := r.env([]string{"A", strings.Repeat("x", 1000)})
	for steps := 0; err == nil; steps++ {
		if err = r.env([]string{"A", "$A$A"}); steps > 20 {
			t.Fatalf("%d bytes after %d steps", len(r.context.Env["A"]), steps)
		}
	}
	if failure := new(build.Failure); !errors.As(err, &failure) {
		t.Errorf("not the template's failure: %v", err)
	}
	for _, text := range []string{strings.Repeat("${A", 1<<20), strings.Repeat("${B:-", 1<<20) + strings.Repeat("}", 1<<20)} {
		if _, err := r.expand(text); err == nil {
			t.Errorf("%d bytes that begin with %s were expanded", len(text), text[:8])
		}
	}
	many := make([]string, 0, 2<<15)
	for i := range 1 << 15 {
		many = append(many, fmt.Sprint("V", i), "$A")
	}
	r.context.Env = map[string]string{"A": strings.Repeat("x", 1000)}
	if err := r.env(many); err == nil {
		t.Error("variables of 32 MiB in all were accepted")
	}
}
