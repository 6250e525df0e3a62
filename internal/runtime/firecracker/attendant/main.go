package attendant

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
)

// Command is the command by which a program is an attendant.
const Command = "attendant"

// Main attends the guest that a file of configuration describes. It is the whole of a process, which ends
// with it.
func Main(config string) error {
	data, err := os.ReadFile(config)
	if err != nil {
		return fmt.Errorf("read the attendant's configuration: %w", err)
	}
	var cfg Config
	if err := json.Unmarshal(data, &cfg); err != nil {
		return fmt.Errorf("read the attendant's configuration: %w", err)
	}
	return Run(context.Background(), cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}
