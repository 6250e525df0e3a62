package image

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// lastLines is how many lines of the tool's output an error contains.
const lastLines = 25

// phases are the steps that mmdebstrap announces, with how many percent of the work are
// done when each starts; the numbers are measured times. Hooks are announced by their
// commands, which say little.
var phases = []struct {
	announced string
	percent   int
	message   string // replaces the announcement if not empty
}{
	{"running apt-get update", 1, ""},
	{"downloading packages", 7, ""},
	{"extracting archives", 10, ""},
	{"running --extract-hook", 24, "removing manuals"},
	{"installing essential packages", 25, ""},
	{"installing remaining packages", 50, ""},
	{"running --customize-hook", 90, "installing Node, preparing the shell"},
	{"cleaning package lists", 98, ""},
	{"success", 100, ""},
}

var willInstall = regexp.MustCompile(`(\d+) newly installed`)

// transcript turns the tool's output into progress.
type transcript struct {
	progress func(Progress)
	last     []string
	phase    int // of phases; -1 before the first
	message  string
	// steps of the phase that are done, and their maximum: each package is unpacked and set
	// up.
	done, total int
	announced   int // how many packages the latest plan installs
	percent     int
}

func newTranscript(progress func(Progress)) *transcript {
	return &transcript{progress: progress, phase: -1}
}

func (t *transcript) line(line string) {
	line = strings.TrimSpace(line)
	if line == "" {
		return
	}
	if t.last = append(t.last, line); len(t.last) > lastLines {
		t.last = t.last[1:]
	}
	switch announced, isPhase := strings.CutPrefix(line, "I: "); {
	case isPhase:
		t.enter(announced)
	case strings.HasPrefix(line, "Unpacking "), strings.HasPrefix(line, "Setting up "):
		t.done, t.message = t.done+1, line
	default:
		if m := willInstall.FindStringSubmatch(line); m != nil {
			packages, err := strconv.Atoi(m[1])
			if err == nil {
				t.announced, t.total = packages, 2*packages
			}
		}
		return
	}
	t.percent = max(t.percent, t.reached())
	t.progress(Progress{Stage: "packages", Done: t.percent, Total: 100, Message: t.message})
}

// enter starts a phase if the tool announces one. Essential packages are planned in an
// earlier phase than the one that installs them.
func (t *transcript) enter(announced string) {
	t.message = announced
	for i := t.phase + 1; i < len(phases); i++ {
		if strings.HasPrefix(announced, phases[i].announced) {
			t.phase, t.done, t.total = i, 0, 2*t.announced
			if phases[i].message != "" {
				t.message = phases[i].message
			}
			return
		}
	}
}

// reached returns how many percent of the work are done.
func (t *transcript) reached() int {
	if t.phase < 0 {
		return 0
	}
	from, to := phases[t.phase].percent, 100
	if t.phase+1 < len(phases) {
		to = phases[t.phase+1].percent
	}
	if t.total == 0 {
		return from
	}
	return from + (to-from)*min(t.done, t.total)/t.total
}

// runBootstrap runs the tool and shows its progress. If it fails, the error has its last
// lines.
func runBootstrap(ctx context.Context, cmd *exec.Cmd, progress func(Progress)) error {
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	finished := make(chan error, 1)
	go func() {
		// The death signal is sent when the thread that started the child exits.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Run()
		writer.Close()
		finished <- err
	}()
	t := newTranscript(progress)
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, 1<<20)
	lines.Split(scanAnyLine)
	for lines.Scan() {
		t.line(lines.Text())
	}
	_, _ = io.Copy(io.Discard, reader) // after a line that is too long
	err := <-finished
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("the installation was interrupted: %w", ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("mmdebstrap: %w; its last lines:\n%s", err, strings.Join(t.last, "\n"))
	}
	return nil
}

// scanAnyLine splits at newlines and at carriage returns.
func scanAnyLine(data []byte, atEOF bool) (int, []byte, error) {
	if at := bytes.IndexAny(data, "\r\n"); at >= 0 {
		return at + 1, data[:at], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}
