package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"shoal/internal/config"
	"shoal/internal/egress/ledger"
	"shoal/internal/shoal"
)

// connectionsCmd lists what became of connections that were decided about by name. Each machine
// knows those of its own sandboxes.
type connectionsCmd struct {
	Sandbox string `arg:"" help:"ID of a sandbox of this machine, which may have ended."`
	Denied  bool   `help:"Only those that were denied."`
	Limit   int    `default:"100" help:"How many, 1000 at most."`
	JSON    bool   `name:"json" help:"One JSON object a line."`
}

// Run prints them, newest first.
func (c *connectionsCmd) Run(ctx context.Context, cfg *config.Config) error {
	_, log := openConsole(cfg)
	if _, err := os.Stat(cfg.Connections()); err != nil {
		return err
	}
	kept, err := ledger.Open(ctx, cfg.Connections(), log)
	if err != nil {
		return err
	}
	defer kept.Close()
	list, err := kept.Query(ctx, c.Sandbox, shoal.EgressQuery{Limit: c.Limit})
	if err != nil {
		return err
	}
	var rows [][]string
	explained := map[*shoal.Kind]bool{}
	encoder := json.NewEncoder(os.Stdout)
	for _, r := range list {
		if c.Denied && r.Outcome != shoal.EgressDenied && r.Outcome != shoal.EgressEncrypted {
			continue
		}
		if c.JSON {
			if err := encoder.Encode(r); err != nil {
				return err
			}
			continue
		}
		if why := r.Outcome.Reason(); why != nil {
			explained[why] = true
		}
		rows = append(rows, []string{r.Minute.Format(time.RFC3339), string(r.Outcome), r.Target,
			strconv.Itoa(int(r.Port)), strconv.FormatInt(r.Count, 10)})
	}
	if c.JSON {
		return nil
	}
	if err := writeTable(os.Stdout, "MINUTE\tOUTCOME\tTARGET\tPORT\tCOUNT", rows); err != nil {
		return err
	}
	for why := range explained {
		fmt.Printf("\n%s: %s\nTo do: %s\n", why.Code, why.Cause, why.Fix)
	}
	return nil
}
