// Command attendant is what runs beside a microVM: it serves the guest's disk and memory, or one of its volumes. There
// is one for each guest, and one for each of its volumes, so it is a program of its own: Shoal's would take ten times as
// long to begin, and several times the memory.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"shoal/internal/runtime/firecracker/attendant"
	"shoal/internal/runtime/firecracker/share"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "attendant:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	// It ends with the guest, whoever is asked to end.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE)
	if len(args) == 2 {
		switch args[0] {
		case attendant.Command:
			return attendant.Main(args[1])
		case share.Command:
			return share.Main(args[1])
		}
	}
	return errors.New("this program is for Shoal, which starts it; it takes what it is to serve, and the file that describes it")
}
