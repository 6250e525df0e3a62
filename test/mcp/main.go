// Command mcp starts every server of the MCP gateway's catalogue in a sandbox of an installation of
// its own, asks each for its tools, and renews their table in docs/mcp.md. It fails if one does not
// start. It needs root, bin/shoal, the SDKs of test/js, npm and PyPI; `make test-mcp` provides the
// former. The work is survey.mjs's, because the official clients are JavaScript.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"

	"shoal/test/installation"
)

const (
	// log is what the last run's installation has said.
	log = "bin/mcp.log"
	// subnet is that of the guests' addresses, 10.99.0.0/16 and 10.100.0.0/16.
	subnet = 99
)

func main() {
	only := flag.String("only", "", "try only these servers, `name,name`")
	flag.Parse()
	err := installation.Serve(".", "mcp", subnet, log, []string{"SHOAL_LOG_FORMAT=text", "SHOAL_SHIPPED_ON_USE=false"},
		func(i *installation.Installation) error { return try(i, *only) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "mcp:", err)
		os.Exit(1)
	}
}

// try builds the template and runs the survey.
func try(i *installation.Installation, only string) error {
	if err := run(i, i.Binary, "template", "build", "mcp-gateway"); err != nil {
		return err
	}
	return run(i, "node", "test/js/mcp/catalogue/survey.mjs", only)
}

// run runs a command to its end, as a client of the installation.
func run(i *installation.Installation, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = i.SDKEnv()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return nil
}
