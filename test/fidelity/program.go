package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"shoal/test/installation"
)

// program is one that people use in sandboxes, and a task that shows that it works there.
// Its scripts are bash, run by the sandbox's user in the home directory, with the functions of
// script.sh; a command that fails ends them.
type program struct {
	name string // unique, and as people know it
	does string // what the task does, for the table

	// What the template gets: packages of Debian, PyPI and npm, and then a script.
	debian, pypi, npm []string
	setup             string

	// session is a script that runs from before the pause until after it, such as a server.
	// ready succeeds once it can be used.
	session, ready string
	// task is the script that is run before the pause, and again, if set, what is run after it
	// in place of task. Both must print the text prints.
	task, again, prints string

	// gap is a script that fails because of something that gVisor lacks. note says which,
	// and what is the way round; the task then goes that way. Without a gap, note is a hint.
	gap, note string
}

// Times that scripts may take, in a sandbox beside another that is busy.
const (
	readyTime = time.Minute
	taskTime  = 3 * time.Minute
	// lifetime is how long a sandbox lives at most.
	lifetime = 15 * time.Minute
)

// The files of a session, in the user's home.
const (
	sessionScript = "/home/user/.session.sh"
	sessionLog    = "/home/user/.session.log"
	sessionPID    = "/home/user/.session.pid"
)

// prologue comes before every script.
//
//go:embed script.sh
var prologue string

// result is what came of a program.
type result struct {
	before, after outcome
	why           string // it failed
}

type outcome string

const (
	ok    outcome = "ok"
	fails outcome = "fails"
	// untried is the outcome after the pause of what has failed before.
	untried outcome = "–"
)

// try runs a program's task in a sandbox of its own, before and after a pause.
func (p program) try(ctx context.Context, i *installation.Installation, k kind, template string) result {
	s, err := create(ctx, i, template, k.network, lifetime)
	if err != nil {
		return result{before: fails, after: untried, why: err.Error()}
	}
	defer s.kill()
	if k.arrange != nil {
		if err := k.arrange(ctx, s); err != nil {
			return result{before: fails, after: untried, why: err.Error()}
		}
	}
	if err := p.before(ctx, s); err != nil {
		return result{before: fails, after: untried, why: err.Error()}
	}
	if err := s.pauseAndResume(ctx, lifetime); err != nil {
		return result{before: ok, after: fails, why: err.Error()}
	}
	if err := p.after(ctx, s); err != nil {
		return result{before: ok, after: fails, why: err.Error()}
	}
	return result{before: ok, after: ok}
}

func (p program) before(ctx context.Context, s *sandbox) error {
	if p.session != "" {
		if err := p.start(ctx, s); err != nil {
			return err
		}
	}
	if p.gap != "" {
		if out, err := p.script(ctx, s, p.gap, taskTime); err == nil {
			return fmt.Errorf("what its note is about works now, and printed %q", out)
		}
	}
	return p.print(ctx, s, p.task)
}

// start starts the session and waits until it is ready.
func (p program) start(ctx context.Context, s *sandbox) error {
	if err := s.write(ctx, sessionScript, prologue+p.session); err != nil {
		return err
	}
	const start = "setsid nohup bash -l " + sessionScript + " >" + sessionLog + " 2>&1 </dev/null & echo $! >" + sessionPID
	if _, err := p.script(ctx, s, start, readyTime); err != nil {
		return err
	}
	_, err := p.script(ctx, s, "until { "+p.ready+"\n} >/dev/null 2>&1; do sleep 0.2; "+alive+"; done", readyTime)
	return p.withLog(ctx, s, err)
}

// alive fails if the session has ended.
const alive = "test -d /proc/$(cat " + sessionPID + ")"

func (p program) after(ctx context.Context, s *sandbox) error {
	if p.session != "" {
		if _, err := p.script(ctx, s, alive, taskTime); err != nil {
			return p.withLog(ctx, s, fmt.Errorf("it has ended over the pause: %w", err))
		}
	}
	if p.again != "" {
		return p.print(ctx, s, p.again)
	}
	return p.print(ctx, s, p.task)
}

// print runs a script that must print the wanted text.
func (p program) print(ctx context.Context, s *sandbox, text string) error {
	out, err := p.script(ctx, s, text, taskTime)
	if err == nil && !strings.Contains(out, p.prints) {
		err = fmt.Errorf("it printed no %q: %s", p.prints, end(out))
	}
	return p.withLog(ctx, s, err)
}

func (p program) script(ctx context.Context, s *sandbox, text string, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, err := s.run(ctx, prologue+text)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("it took more than %s", limit)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, end(out))
	}
	return out, err
}

// withLog adds to an error what the session has said.
func (p program) withLog(ctx context.Context, s *sandbox, err error) error {
	if err == nil || p.session == "" {
		return err
	}
	if said, _ := p.script(ctx, s, "cat "+sessionLog, readyTime); said != "" { // the error is what counts
		err = fmt.Errorf("%w; the session said: %s", err, end(said))
	}
	return err
}

// end is the last part of what was printed.
func end(text string) string {
	const most = 500
	return text[max(0, len(text)-most):]
}
