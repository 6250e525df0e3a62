package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// clientTime bounds all features of one client.
	clientTime = 8 * time.Minute
	installed  = "installed" // marks the directory of a client that is there as a whole
)

// client is one release of a package, and what came of it.
type client struct {
	series
	version string
	results []result // in the order in which they were tried
}

// result is what came of a feature, as the programs in js and python print it.
type result struct {
	Feature string
	Outcome outcome
	Why     string // it failed
}

type outcome string

const (
	ok     outcome = "ok"
	fails  outcome = "fails"
	absent outcome = "n/a" // the release does not have it
)

// name is unique among clients, and may be in names of files and templates.
func (c *client) name() string {
	pkg := strings.NewReplacer("@", "", "/", "-").Replace(c.pkg)
	return strings.ToLower(string(c.registry)) + "-" + pkg + "-" + strings.ReplaceAll(c.version, ".", "-")
}

// dir is where the client is installed.
func (c *client) dir() string { return filepath.Join(cache, c.name()) }

// install installs the client, unless it is there from an earlier run.
func (c *client) install(ctx context.Context) error {
	mark := filepath.Join(c.dir(), installed)
	if _, err := os.Stat(mark); err == nil {
		return nil
	}
	fmt.Println("installing", c.pkg, c.version, "from", c.registry)
	if err := os.RemoveAll(c.dir()); err != nil { // what an interrupted run has left
		return err
	}
	if err := c.fetch(ctx); err != nil {
		return err
	}
	return os.WriteFile(mark, nil, 0o644)
}

func (c *client) fetch(ctx context.Context) error {
	if c.registry == pypi {
		if err := makeVenv(ctx, c.dir()); err != nil {
			return err
		}
		_, err := output(exec.CommandContext(ctx, filepath.Join(c.dir(), "bin", "python"), "-m", "pip",
			"--disable-pip-version-check", "install", "--quiet", c.pkg+"=="+c.version))
		return err
	}
	if err := os.MkdirAll(c.dir(), 0o755); err != nil {
		return err
	}
	_, err := output(exec.CommandContext(ctx, "npm", "install", "--prefix", c.dir(), "--no-audit", "--no-fund",
		"--loglevel=error", c.pkg+"@"+c.version))
	return err
}

// makeVenv makes an environment of Python packages, unless it exists.
func makeVenv(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "bin", "pip")); err == nil {
		return nil
	}
	_, err := output(exec.CommandContext(ctx, "python3", "-m", "venv", "--clear", dir))
	return err
}

// run tries all features. That some fail is no error; that their program ends badly is one.
func (c *client) run(ctx context.Context, env []string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, clientTime)
	defer cancel()
	began := time.Now()
	switch {
	case c.pkg == commandLine:
		c.results, err = c.tryCommandLine(ctx, env)
	case c.registry == npm:
		// Beside the client's packages, so that `import` finds them.
		program := filepath.Join(c.dir(), "program")
		if err := errors.Join(os.RemoveAll(program), os.CopyFS(program, os.DirFS(room+"/js"))); err != nil {
			return err
		}
		c.results, err = c.try(exec.CommandContext(ctx, "node", program+"/run.mjs", c.pkg, c.name()), env)
	default:
		module := strings.ReplaceAll(c.pkg, "-", "_")
		c.results, err = c.try(exec.CommandContext(ctx, filepath.Join(c.dir(), "bin", "python"), "-B", "-W", "ignore",
			room+"/python/run.py", module, c.name()), env)
	}
	fmt.Printf("%s %s: %d features in %s\n", c.pkg, c.version, len(c.results), time.Since(began).Round(time.Second))
	for _, r := range c.results {
		if r.Outcome == fails {
			fmt.Printf("\t%s: %s\n", r.Feature, oneLine(r.Why))
		}
	}
	return err
}

// try runs a program that prints results.
func (c *client) try(cmd *exec.Cmd, env []string) ([]result, error) {
	cmd.Env, cmd.WaitDelay = env, 5*time.Second
	out, err := output(cmd)
	if err != nil {
		return nil, err
	}
	return readResults(out)
}

// readResults reads lines of JSON. Other lines are what a client itself has printed.
func readResults(out []byte) ([]result, error) {
	var results []result
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		var r result
		if json.Unmarshal(lines.Bytes(), &r) == nil && r.Feature != "" {
			results = append(results, r)
		}
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("it printed no results:\n%s", out)
	}
	return results, lines.Err()
}
