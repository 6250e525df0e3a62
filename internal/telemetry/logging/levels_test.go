package logging

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLevelsOfRooms(t *testing.T) {
	var out bytes.Buffer
	levels, err := Parse("error, telemetry=debug")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(levels.Handler(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	said := func(text string) bool {
		t.Helper()
		out.Reset()
		log.With("k", "v").WithGroup("g").Debug(text)
		return strings.Contains(out.String(), text)
	}
	if !said("one") {
		t.Error("a room within the one that is set says nothing")
	}
	for text, want := range map[string]bool{"warn,network=debug": false, "debug": true, "info,telemetry=warn": false,
		"error,telemetry=warn,telemetry/logging=debug": true, "debug,telemetry/logging=error": false} {
		if err := levels.Set(text); err != nil {
			t.Fatal(err)
		}
		if levels.String() != text || said(text) != want {
			t.Errorf("%s (%s): %q", text, levels, out.String())
		}
	}
	for _, bad := range []string{"", "loud", "info,debug", "network=debug,info", "info,kitchen=debug", "info,network=",
		"info,,network=debug"} {
		if err := levels.Set(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestRoomOf(t *testing.T) {
	for function, want := range map[string]string{
		"shoal/internal/network.(*Pool).fill.func1":      "network",
		"shoal/internal/orchestrator/rpc.NewHandler":     "orchestrator/rpc",
		"shoal/internal/runtime/gvisor.(*Driver).create": "runtime/gvisor",
		"main.run": "main",
		"":         "",
	} {
		if got := roomOf(function); got != want {
			t.Errorf("%q: %q", function, got)
		}
	}
}

// TestRoomsAreTheTree: each room is a package, and each package that logs in this program is a room
// or in one.
func TestRoomsAreTheTree(t *testing.T) {
	const internal = "../.."
	for _, room := range Rooms {
		if info, err := os.Stat(filepath.Join(internal, room)); room != "main" && (err != nil || !info.IsDir()) {
			t.Errorf("there is no room %s", room)
		}
	}
	err := filepath.WalkDir(internal, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(text, []byte("\t\"log/slog\"\n")) {
			return err
		}
		room := filepath.ToSlash(filepath.Dir(strings.TrimPrefix(path, internal+"/")))
		inRoom := func(known string) bool { return room == known || strings.HasPrefix(room, known+"/") }
		if !slices.ContainsFunc(Rooms, inRoom) && !elsewhere(room) {
			t.Errorf("%s logs, and is in none of Rooms", room)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// elsewhere reports whether a package is of the guest's daemon, or of tests, which have logs of
// their own.
func elsewhere(room string) bool {
	return room == "envd" || strings.HasPrefix(room, "envd/") || strings.HasSuffix(room, "test")
}
