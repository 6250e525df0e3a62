package envd

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"shoal/internal/envdapi"
)

// mapEventsHost makes the hosts file map envdapi.EventsHost to the address. It replaces
// an entry of the same address family and keeps everything else.
func mapEventsHost(path string, addr netip.Addr) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("map %s: %w", envdapi.EventsHost, err)
	}
	text := withEventsHost(string(data), addr)
	if text == string(data) {
		return nil
	}
	// In place, because the file may be a mount of its own.
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("map %s: %w", envdapi.EventsHost, err)
	}
	return nil
}

func withEventsHost(text string, addr netip.Addr) string {
	entry := addr.String() + "\t" + envdapi.EventsHost + "\n"
	var out strings.Builder
	for line := range strings.Lines(text) {
		kept := withoutEventsHost(line, addr)
		if kept == "" {
			continue
		}
		out.WriteString(kept)
		if !strings.HasSuffix(kept, "\n") {
			out.WriteByte('\n')
		}
	}
	return out.String() + entry
}

// withoutEventsHost removes the name from a line of the same address family and keeps the
// line's other names.
func withoutEventsHost(line string, addr netip.Addr) string {
	entry, _, _ := strings.Cut(line, "#")
	fields := strings.Fields(entry)
	if len(fields) < 2 {
		return line
	}
	old, err := netip.ParseAddr(fields[0])
	if err != nil || old.Is4() != addr.Is4() {
		return line
	}
	kept := fields[:1]
	for _, name := range fields[1:] {
		if name != envdapi.EventsHost {
			kept = append(kept, name)
		}
	}
	switch len(kept) {
	case len(fields):
		return line
	case 1:
		return ""
	}
	return strings.Join(kept, " ") + "\n"
}
