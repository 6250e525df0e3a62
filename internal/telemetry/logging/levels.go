// Package logging decides which lines of Shoal's own log are written: from a level on, which may
// be another for each room, and can be changed while the process runs.
package logging

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"shoal/internal/telemetry"
)

// Levels says from which level on lines are written. It is safe for concurrent use.
type Levels struct{ now atomic.Pointer[levels] }

// levels do not change.
type levels struct {
	text  string
	base  slog.Level
	least slog.Level // of all
	rooms []roomLevel
	byPC  sync.Map // uintptr of who logged → slog.Level
}

type roomLevel struct {
	room  string
	level slog.Level
}

// Parse returns what a text says: a level, then ROOM=LEVEL for the rooms that have another, as
// "info,network=debug,orchestrator/rpc=warn".
func Parse(text string) (*Levels, error) {
	l := &Levels{}
	return l, l.Set(text)
}

// Set changes the levels at once for the whole process.
func (l *Levels) Set(text string) error {
	parsed, err := parse(text)
	if err == nil {
		l.now.Store(parsed)
	}
	return err
}

// String returns what was set.
func (l *Levels) String() string { return l.now.Load().text }

func parse(text string) (*levels, error) {
	l := &levels{base: slog.LevelInfo}
	var words []string
	for i, word := range strings.Split(text, ",") {
		word = strings.TrimSpace(word)
		room, name, ofRoom := strings.Cut(word, "=")
		if !ofRoom {
			name = room
		}
		level, err := parseLevel(name)
		switch {
		case err != nil:
			return nil, err
		case !ofRoom && i > 0:
			return nil, fmt.Errorf("%q: the level of all rooms comes first, and once", text)
		case !ofRoom:
			l.base = level
		case !slices.Contains(Rooms, room):
			return nil, fmt.Errorf("%q is no room; there are %s", room, strings.Join(Rooms, ", "))
		default:
			l.rooms = append(l.rooms, roomLevel{room, level})
		}
		words = append(words, word)
	}
	l.text, l.least = strings.Join(words, ","), l.base
	for _, r := range l.rooms {
		l.least = min(l.least, r.level)
	}
	// A room within another is found first.
	slices.SortStableFunc(l.rooms, func(a, b roomLevel) int { return cmp.Compare(len(b.room), len(a.room)) })
	return l, nil
}

func parseLevel(name string) (slog.Level, error) {
	switch name {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q is no level: there are debug, info, warn and error", name)
}

// of returns the level of whoever logs at pc; 0 is unknown.
func (l *levels) of(pc uintptr) slog.Level {
	if len(l.rooms) == 0 || pc == 0 {
		return l.base
	}
	if known, ok := l.byPC.Load(pc); ok {
		return known.(slog.Level)
	}
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	level, room := l.base, roomOf(frame.Function)
	for _, r := range l.rooms {
		if room == r.room || strings.HasPrefix(room, r.room+"/") {
			level = r.level
			break
		}
	}
	l.byPC.Store(pc, level) // as many as there are calls of the log in the program
	return level
}

// roomOf is the package of a function below internal/, or main.
func roomOf(function string) string {
	path, ours := strings.CutPrefix(function, "shoal/internal/")
	if !ours {
		before, _, _ := strings.Cut(function, ".")
		return before
	}
	dir, base := "", path
	if at := strings.LastIndex(path, "/"); at >= 0 {
		dir, base = path[:at+1], path[at+1:]
	}
	base, _, _ = strings.Cut(base, ".")
	return dir + base
}

// Handler passes on what the levels let through, with the trace that it was logged in.
func (l *Levels) Handler(next slog.Handler) slog.Handler { return &handler{l, next} }

// Of returns the levels of a log, or nil if its handler is none of theirs.
func Of(log *slog.Logger) *Levels {
	if h, ok := log.Handler().(*handler); ok {
		return h.levels
	}
	return nil
}

type handler struct {
	levels *Levels
	next   slog.Handler
}

// Enabled implements slog.Handler. Whose line it is is only known once there is one.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.levels.now.Load().least && h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < h.levels.now.Load().of(r.PC) {
		return nil
	}
	if id := telemetry.TraceID(ctx); id != "" {
		r = r.Clone()
		r.AddAttrs(slog.String("trace", id))
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.levels, h.next.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.levels, h.next.WithGroup(name)}
}
