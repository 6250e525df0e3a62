package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"shoal/internal/config"
	"shoal/internal/egress"
)

// longDrain is how long a process of an earlier version may have had its last connections before
// that is worth a word.
const longDrain = 24 * time.Hour

// askEgress asks the processes that relay connections of sandboxes with rules about names.
func askEgress(ctx context.Context, cfg *config.Config, version string) []Result {
	found, err := egress.Inspect(ctx, cfg.RunDir)
	if err != nil {
		return []Result{Note.because("run shoal doctor as root", "%v", err).of("egress process")}
	}
	return judgeEgress(found, version, time.Now())
}

func judgeEgress(found []egress.Found, version string, now time.Time) (results []Result) {
	serving := 0
	for _, f := range found {
		results = append(results, judgeProcess(f, version, now).of("egress process"))
		if f.Err == nil && !f.Ended && !f.Draining {
			serving++
		}
	}
	switch {
	case len(found) == 0:
		return []Result{ok("none; it is started for the first sandbox with rules about names").of("egress process")}
	case serving > 1:
		results = append(results, Warn.because("restart shoal, which keeps one of them",
			"%d processes take connections, and there should be one", serving).of("egress process"))
	}
	return results
}

func judgeProcess(f egress.Found, version string, now time.Time) Result {
	kill := fmt.Sprintf("kill %d", f.PID)
	switch {
	case f.Ended:
		return Note.because("shoal up removes it", "the socket of process %d is left, which has ended", f.PID)
	case f.Err != nil:
		return Warn.because("a shoal that runs ends and replaces it within half a minute; without one, kill -9 "+fmt.Sprint(f.PID),
			"process %d is there and does not answer, so its sandboxes reach nothing: %v", f.PID, f.Err)
	case f.Draining:
		text := fmt.Sprintf("process %d takes no more connections, and ends with the last of %d", f.PID, f.Connections)
		if f.DrainingSince.IsZero() {
			return ok("%s", text)
		}
		age := now.Sub(f.DrainingSince).Round(time.Second)
		if age > longDrain {
			return Note.because(kill+" ends it with its connections", "%s; that has taken %s", text, age)
		}
		return ok("%s; that has taken %s", text, age)
	case !isOf(f.Build, version):
		return Note.because("start shoal of this version, which replaces it and lets its connections go on",
			"process %d with %d connections is of another version: %s", f.PID, f.Connections, f.Build)
	}
	return ok("process %d serves %d sandboxes with %d connections", f.PID, f.Sandboxes, f.Connections)
}

// isOf tells whether a build, which begins with the version, is of a version.
func isOf(build, version string) bool {
	first, _, _ := strings.Cut(build, " ")
	return first == version
}
