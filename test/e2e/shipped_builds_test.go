package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"shoal/test/installation"
)

// shipped has the templates that take minutes to build.
var shipped shippedBuilds

// shippedBuilds is an installation that builds templates of Shoal's own from the start of
// the tests on. The other tests run one after the other and often wait, so the builds take
// little of their time; some of them stop `server`, so the builds have an installation apart.
type shippedBuilds struct {
	*box
	process *installation.Process
	cancel  context.CancelFunc
	builds  map[string]*shippedBuild
}

// shippedBuild is the build of one template.
type shippedBuild struct {
	took time.Duration // after done
	err  error         // after done
	done chan struct{}
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
			}
		}()
	}
	return nil
}

// isAsked tells whether -run selects a test.
func isAsked(test string) bool {
	selected, err := regexp.MatchString(flag.Lookup("test.run").Value.String(), test)
	return err == nil && selected
}

// await makes a test run in parallel with others, after those that do not, and waits for
// the templates it needs.
func (s *shippedBuilds) await(t *testing.T, names ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a whole template; not with -short")
	}
	t.Parallel()
	for _, name := range names {
		b := s.builds[name]
		<-b.done
		if b.err != nil {
			t.Fatal(b.err)
		}
		t.Logf("%s was built in %s", name, b.took)
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
