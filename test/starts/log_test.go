package starts

import (
	"encoding/json"
	"fmt"
	"strings"
)

// secondStart ends the messages that Shoal logs when it starts a kernel or a guest once more.
const secondStart = "; another is tried"

// readLog finds why something was started a second time, and counts the creates that started
// a kernel of their own.
func readLog(log string) (again []string, cold int) {
	for line := range strings.Lines(log) {
		var entry struct {
			Time, Msg, Error string
			Guest, Sandbox   string
			Phases           map[string]float64 `json:"phases_ms"`
		}
		if json.Unmarshal([]byte(line), &entry) != nil {
			continue // of the console
		}
		if what, ok := strings.CutSuffix(entry.Msg, secondStart); ok {
			again = append(again, fmt.Sprintf("%s %s (%s): %s",
				entry.Time, what, entry.Guest+entry.Sandbox, entry.Error))
		}
		if _, ok := entry.Phases["kernel_create"]; ok && entry.Msg == "sandbox created" {
			cold++
		}
	}
	return again, cold
}
