package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"shoal/internal/config"
	"shoal/internal/doctor"
	"shoal/internal/shoal"
)

type doctorCmd struct {
	Role     string `default:"up" enum:"up,api,orchestrator,proxy" help:"What is to run here: up (all roles), api, orchestrator or proxy."`
	Contents bool   `help:"Read all images, kernels and snapshots of this machine too, and compare them with their checksums."`
	Sandbox  bool   `help:"Make a sandbox too, as a client does, and run commands in it, pause, resume and kill it: the installation must run. The key is that of E2B_API_KEY, or with --dev the development key; E2B_API_URL and E2B_SANDBOX_URL say where, if it is not here."`
	Template string `default:"base" help:"What that sandbox is made from."`
	JSON     bool   `name:"json" help:"Print JSON."`
}

// shownResult is a finding in JSON.
type shownResult struct {
	Name  string `json:"name"`
	Level string `json:"level"` // ok, note, warn, fail
	Found string `json:"found"`
	Fix   string `json:"fix,omitempty"`
}

// Run prints the results of all checks. The command exits with 1 if sandboxes cannot run.
func (c *doctorCmd) Run(ctx context.Context, cfg *config.Config) error {
	results := doctor.Run(ctx, cfg, doctor.Role(c.Role), version)
	if c.Contents {
		results = append(results, doctor.Contents(ctx, cfg)...)
	}
	if c.Sandbox {
		target, err := c.target(cfg)
		if err != nil {
			return err
		}
		results = append(results, doctor.Cycle(ctx, target)...)
	}
	if c.JSON {
		shown := make([]shownResult, len(results))
		for i, r := range results {
			shown[i] = shownResult{r.Name, r.Level.Word(), r.Found, r.Fix}
		}
		if err := printJSON(shown); err != nil {
			return err
		}
	} else {
		doctor.Print(os.Stdout, results)
	}
	if doctor.Worst(results) < doctor.Fail {
		return nil
	}
	if !c.JSON {
		fmt.Println("\nNo sandbox can run until the failures above are mended.")
	}
	return errReported
}

// target is where a client of this installation would go.
func (c *doctorCmd) target(cfg *config.Config) (doctor.Target, error) {
	t := doctor.Target{API: os.Getenv("E2B_API_URL"), Traffic: os.Getenv("E2B_SANDBOX_URL"), Domain: cfg.SandboxDomain(),
		Key: os.Getenv("E2B_API_KEY"), Template: c.Template}
	if t.API == "" {
		t.API = "http://" + config.Reachable(cfg.APIListen)
	}
	if t.Traffic == "" {
		t.Traffic = "http://" + config.Reachable(cfg.ProxyListen)
	}
	if t.Key == "" && cfg.Dev {
		t.Key = shoal.DevAPIKey
	}
	if t.Key == "" {
		return t, errors.New("--sandbox needs an API key in E2B_API_KEY")
	}
	return t, nil
}
