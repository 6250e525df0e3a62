package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/test/installation"
)

// shipped has the templates that take minutes to build.
var shipped shippedBuilds

// shippedBuilds is an installation that builds templates of Shoal's own from the start of
// the tests on, and tries each by its SDKs when it is there. The other tests run one after the
// other and often wait, so this takes little of their time; some of them stop `server`, so it has
// an installation apart.
type shippedBuilds struct {
	*box
	process *installation.Process
	cancel  context.CancelFunc
	builds  map[string]*shippedBuild
	trying  sync.Mutex // held while suites of SDKs run, of a template or of the base; a leaf
}

// shippedBuild is the build of one template, and what its suites said.
type shippedBuild struct {
	took, tried time.Duration // after done
	output      string        // after done
	err         error         // after done
	done        chan struct{}
}

// fragments are the templates of the Fragments app that are to be tested.
func fragments() []string { return strings.Fields(os.Getenv("SHOAL_TEST_FRAGMENTS")) }

// start begins to build what the tests to be run will await.
func (s *shippedBuilds) start() error {
	var names []string
	for test, templates := range map[string][]string{
		"TestDesktop":         {"desktop"},
		"TestCodeInterpreter": {"code-interpreter-v1"},
		"TestMCP":             {"mcp-gateway"},
		"TestFragments":       fragments(),
	} {
		if !testing.Short() && isAsked(test) {
			names = append(names, templates...)
		}
	}
	if len(names) == 0 {
		return nil
	}
	i, err := installation.New(repository, "shipped", 69, "SHOAL_LOG_FORMAT=text", "SHOAL_SHIPPED_ON_USE=false")
	if err != nil {
		return err
	}
	s.box = &box{i}
	if s.process, err = i.Up(); err != nil {
		return errors.Join(err, i.Remove())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	s.cancel, s.builds = cancel, map[string]*shippedBuild{}
	for _, name := range names {
		b := &shippedBuild{done: make(chan struct{})}
		s.builds[name] = b
		go func() { // ends by stop at the latest
			defer close(b.done)
			start := time.Now()
			out, err := s.Run(ctx, "template", "build", name)
			if b.took = time.Since(start).Round(time.Second); err != nil {
				b.err = fmt.Errorf("template build %s: %w\n%s", name, err, out[max(0, len(out)-4000):])
				return
			}
			s.trying.Lock()
			defer s.trying.Unlock()
			start = time.Now()
			for _, suite := range suites[name] {
				b.err = errors.Join(b.err, s.try(ctx, suite, &b.output))
			}
			b.tried = time.Since(start).Round(time.Second)
		}()
	}
	return nil
}

// try runs a suite and adds what it prints to output.
func (s *shippedBuilds) try(ctx context.Context, of sdkSuite, output *string) error {
	cmd, err := of.command(ctx)
	if err != nil {
		return err
	}
	cmd.Env, cmd.WaitDelay = append(s.SDKEnv(), of.env...), 5*time.Second
	out, err := cmd.CombinedOutput()
	*output += string(out)
	if err != nil {
		return fmt.Errorf("%s in %s: %w", filepath.Base(cmd.Path), cmd.Dir, err)
	}
	return nil
}

// isAsked tells whether -run selects a test.
func isAsked(test string) bool {
	selected, err := regexp.MatchString(flag.Lookup("test.run").Value.String(), test)
	return err == nil && selected
}

// await makes a test run in parallel with others, after those that do not, and waits for
// the templates it needs and their suites.
func (s *shippedBuilds) await(t *testing.T, names ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a whole template; not with -short")
	}
	t.Parallel()
	for _, name := range names {
		b := s.builds[name]
		<-b.done
		t.Logf("%s was built in %s, and tried in %s\n%s", name, b.took, b.tried, b.output)
		if b.err != nil {
			t.Fatal(b.err)
		}
	}
}

// stop ends what still builds, the process and all that it left running.
func (s *shippedBuilds) stop() error {
	if s.process == nil {
		return nil
	}
	s.cancel()
	for _, b := range s.builds {
		<-b.done
	}
	return errors.Join(s.Stop(s.process, 30*time.Second), s.Remove())
}
