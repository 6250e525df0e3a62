package image

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// PrintProgress returns a function that prints the steps of a build: on a terminal over
// each other, otherwise one line for every ten percent.
func PrintProgress(console *os.File) func(Progress) {
	terminal, shown, first := isTerminal(console), -1, true
	return func(p Progress) {
		if first {
			fmt.Fprintln(console, "Building the base template; this happens once.")
			first = false
		}
		percent := 0
		if p.Total > 0 {
			percent = 100 * p.Done / p.Total
		}
		if terminal {
			fmt.Fprintf(console, "\r\x1b[K  %-8s %3d %%  %.60s", p.Stage, percent, p.Message)
			if p.Stage == "image" {
				fmt.Fprintln(console)
			}
			return
		}
		if p.Stage == "image" || percent/10 > shown {
			shown = percent / 10
			fmt.Fprintf(console, "  %-8s %3d %%  %s\n", p.Stage, percent, p.Message)
		}
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
