package process

import (
	"strings"
	"syscall"
	"testing"
)

// TestExplain: Linux and gVisor use different errors for what is too long.
func TestExplain(t *testing.T) {
	long := strings.Repeat("x", maxString)
	for _, c := range []struct {
		command command
		err     error
		want    string
	}{
		{command{args: []string{"-c", long}}, syscall.ENAMETOOLONG,
			"the command line is longer than 128 KiB"},
		{command{args: []string{"-c", long}}, syscall.E2BIG, "the command line is longer than 128 KiB"},
		{command{env: map[string]string{"A": long}}, syscall.ENAMETOOLONG,
			`the environment variable "A" is longer than 128 KiB`},
		{command{args: []string{"-c", long[1:]}}, syscall.E2BIG, "argument list too long"}, // all of it
		{command{name: long}, syscall.ENAMETOOLONG, "file name too long"},
		{command{args: []string{long}}, syscall.EACCES, "permission denied"},
	} {
		if got := c.command.explain(c.err).Error(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}
