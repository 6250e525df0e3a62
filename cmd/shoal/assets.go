package main

import (
	"embed"
	"log/slog"

	"shoal/internal/config"
	"shoal/internal/machine"
)

//go:embed assets
var assets embed.FS

// asset copies a program that is embedded in this binary whenever it is asked to; nil if there is none.
func asset(name string) func() []byte {
	return func() []byte {
		data, err := assets.ReadFile("assets/" + name)
		if err != nil {
			return nil
		}
		return data
	}
}

// openMachine opens this host's machine with the programs embedded in this binary. ended,
// if not nil, is called for each run of a sandbox that ends.
func openMachine(cfg *config.Config, log *slog.Logger,
	ended func(executionID string)) (*machine.Machine, error) {
	return machine.Open(cfg, machine.Options{Version: version,
		Kernel: asset("kernel"), Envd: asset("envd"), GuestInit: asset("guestinit"), Attendant: asset("attendant"),
		Ended: ended}, log)
}

// openLeftMachine opens a machine to end what an earlier process has left on it.
func openLeftMachine(cfg *config.Config, log *slog.Logger) (*machine.Machine, error) {
	return machine.Open(cfg, machine.Options{Version: version, Kernel: asset("kernel"), Envd: asset("envd"),
		GuestInit: asset("guestinit"), Ending: true}, log)
}
