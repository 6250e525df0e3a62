package doctor

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"shoal/internal/config"
)

const forwardSetting = "/proc/sys/net/ipv4/ip_forward"

// checkForwarding looks whether the host forwards packets, or a start can make it do so. Containers
// often have their settings read-only.
func checkForwarding(context.Context, *config.Config) Result { return judgeForwarding(forwardSetting) }

func judgeForwarding(setting string) Result {
	data, err := os.ReadFile(setting)
	if err == nil && string(data[:min(1, len(data))]) == "1" {
		return ok("the host forwards packets")
	}
	f, err := os.OpenFile(setting, os.O_WRONLY, 0)
	if err != nil {
		return Fail.because("sysctl -w net.ipv4.ip_forward=1 on the host; a container needs /proc/sys writable",
			"sandboxes reach nothing and are not reached: the host does not forward packets, and a start cannot change it: %v", err)
	}
	f.Close()
	return ok("off; a start turns it on, `shoal down` puts it back")
}

// checkClock asks the host's kernel whether something keeps the clock right.
func checkClock(context.Context, *config.Config) Result {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return Note.because("", "cannot ask about the clock: %v", err)
	}
	return judgeClock(state, t)
}

func judgeClock(state int, t unix.Timex) Result {
	if state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0 {
		return Note.because("timedatectl set-ntp true, or install chrony",
			"nothing keeps this machine's clock right; deadlines, tokens and certificates depend on it")
	}
	return ok("it is kept right")
}
