package engine

import (
	"strings"
	"sync"

	"shoal/internal/build"
	"shoal/internal/envdapi/client"
)

// lastLines is how many lines of a failed step's output its failure repeats.
const lastLines = 10

// lastCries is how many lines of standard error a failure's reason contains, and maxCry how
// many bytes of each.
const (
	lastCries = 3
	maxCry    = 2 << 10
)

// maxLine is the most of a line that is taken as one, in bytes.
const maxLine = 32 << 10

// lines turns the output of a command into lines of the build's log.
type lines struct {
	log    build.Log
	level  build.Level
	step   string
	prefix string

	mu   sync.Mutex
	rest [2]string // unfinished lines of standard output and error
	last []string
	cry  []string // the last lines of standard error
}

func (l *lines) take(stderr bool, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := 0
	if stderr {
		at = 1
	}
	text := l.rest[at] + string(data)
	for {
		line, after, ended := strings.Cut(text, "\n")
		switch {
		case len(line) > maxLine:
			line, after = text[:maxLine], text[maxLine:]
		case !ended:
			l.rest[at] = text
			return
		}
		l.write(at, line)
		text = after
	}
}

// write logs a line. The caller holds mu. If a line was redrawn, as progress bars do, only
// its last state is logged.
func (l *lines) write(at int, line string) {
	line = strings.TrimRight(line, "\r")
	line = line[strings.LastIndexByte(line, '\r')+1:]
	name := [2]string{"stdout", "stderr"}[at]
	l.log.Write(l.level, l.step, l.prefix+" ["+name+"]: "+line)
	if l.last = append(l.last, line); len(l.last) > lastLines {
		l.last = l.last[1:]
	}
	if cry := strings.TrimSpace(line); at == 1 && cry != "" {
		if l.cry = append(l.cry, strings.ToValidUTF8(cry[:min(len(cry), maxCry)], "")); len(l.cry) > lastCries {
			l.cry = l.cry[1:]
		}
	}
}

// complaint returns the end of standard error as one text.
func (l *lines) complaint() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.cry) == 0 {
		return strings.Join(l.last, "\n")
	}
	return strings.Join(l.cry, "\n")
}

// end logs what is left without an end of line.
func (l *lines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at, text := range l.rest {
		if text != "" {
			l.write(at, text)
		}
	}
	l.rest = [2]string{}
}

// words returns the last lines as one text.
func (l *lines) words() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.last, "\n")
}

var _ client.Output = (*lines)(nil).take
