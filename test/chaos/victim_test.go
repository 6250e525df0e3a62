package chaos

import (
	"errors"
	"syscall"
	"time"

	"shoal/test/installation"
)

// victim is a Shoal with a process that can be killed and started again.
type victim struct {
	*installation.Installation
	target *installation.Process   // the process that is killed
	others []*installation.Process // the processes that stay
	start  func() (*installation.Process, error)
}

// settings make all ways of starting and keeping guests occur: warm guests, kernels started
// ahead, and paused guests that rest for a moment. The environment may say otherwise, for machines that are
// kept busy for minutes by what nobody has asked for.
var settings = []string{"SHOAL_WARM=base=1", "SHOAL_WARM_MAX=2", "SHOAL_SHELLS=1", "SHOAL_REST_TIME=1s",
	"SHOAL_LOG_FORMAT=text"}

// whole runs `shoal up`, so that everything dies at once.
func whole(i *installation.Installation) (*victim, error) {
	v := &victim{Installation: i, start: i.Up}
	return v, v.restart()
}

// orchestratorOnly runs three processes; the api and the proxy stay.
func orchestratorOnly(i *installation.Installation) (*victim, error) {
	i.Env = append(i.Env, "SHOAL_NODES="+i.Node)
	role := func(name string) (*installation.Process, error) {
		p, err := i.Start(name)
		if err != nil {
			return nil, err
		}
		return p, p.AwaitLine(name+" ready", installation.FirstStart)
	}
	v := &victim{Installation: i,
		start: func() (*installation.Process, error) { return role("orchestrator") }}
	if err := v.restart(); err != nil {
		return v, err
	}
	for _, name := range []string{"api", "proxy"} {
		p, err := role(name)
		if p != nil {
			v.others = append(v.others, p)
		}
		if err != nil {
			return v, err
		}
	}
	return v, nil
}

func (v *victim) restart() (err error) {
	v.target, err = v.start()
	return err
}

// restartDisturbed kills the new process once while it recovers.
func (v *victim) restartDisturbed(verb string, after time.Duration) error {
	p, err := v.Start(verb)
	if err != nil {
		return err
	}
	time.Sleep(after) // a random moment is the purpose of the test
	p.Kill()
	return v.restart()
}

// end stops everything as an operator would.
func (v *victim) end() error {
	var err error
	for _, p := range append(v.others, v.target) {
		if p != nil {
			err = errors.Join(err, p.Stop(syscall.SIGTERM, time.Minute))
		}
	}
	return errors.Join(err, v.Down(), v.Remove())
}
