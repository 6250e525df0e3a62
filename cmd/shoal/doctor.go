package main

import (
	"context"
	"fmt"
	"os"

	"shoal/internal/config"
	"shoal/internal/doctor"
)

type doctorCmd struct{}

// Run prints the results of all checks. The command exits with 1 if sandboxes cannot run.
func (doctorCmd) Run(ctx context.Context, cfg *config.Config) error {
	results := doctor.Run(ctx, cfg)
	doctor.Print(os.Stdout, results)
	if doctor.Worst(results) == doctor.Fail {
		fmt.Println("\nNo sandbox can run until the failures above are mended.")
		return errReported
	}
	return nil
}
