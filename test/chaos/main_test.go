// Package chaos kills Shoal at random moments of random transitions, and then checks that
// no sandbox was lost, duplicated or damaged, and that its events tell of all that happened to it,
// in that order. It kills egress processes, too, and checks that sandboxes with rules about names
// reach what those allow and nothing else. It needs root and bin/shoal; `make
// test-chaos` provides both. Use -rounds for longer runs and -seed to repeat one.
package chaos

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"shoal/test/installation"
)

var (
	rounds = flag.Int("rounds", 200, "kills, half of them of all of Shoal and half of the orchestrator alone")
	seed   = flag.Uint64("seed", 0, "repeat a course; 0 chooses one")

	patience = flag.Duration("patience", time.Minute, "how long an answer may take, and how long everything may "+
		"take after a start to be as it must be; emulated processors want more")
	population = flag.Int("population", 6, "sandboxes alive at once, at most")
)

// failures are printed again at the very end, because logs are often cut before that.
var failures struct {
	sync.Mutex // guards lines
	lines      []string
}

func TestMain(m *testing.M) {
	flag.Parse()
	err := installation.Sweep("../..", map[string]int{"chaos1": 71, "chaos2": 73})
	if err != nil {
		fmt.Println("chaos:", err)
		os.Exit(1)
	}
	before, err := installation.ReadHost()
	if err != nil {
		fmt.Println("chaos:", err)
		os.Exit(1)
	}
	code := m.Run()
	for _, line := range failures.lines {
		fmt.Println("LOST", line)
	}
	for _, leak := range before.AwaitQuiet() {
		fmt.Println("LEAK", leak)
		code = 1
	}
	os.Exit(code)
}
