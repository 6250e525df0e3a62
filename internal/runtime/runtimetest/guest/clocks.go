package main

import (
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// clocks is what a guest says of its time, in seconds.
type clocks struct {
	Monotonic, Boottime, Library, Uptime, Sysinfo float64
	TimeOfDay                                     float64            // since 1970
	Fired                                         map[string]float64 // monotonic seconds that each timer took
}

var (
	timersMu sync.Mutex
	fired    = map[string]float64{}
)

func seconds(clock int32) float64 {
	var t unix.Timespec
	_ = unix.ClockGettime(clock, &t)
	return time.Duration(t.Nano()).Seconds()
}

// handleClocks tells all clocks, and which timers have fired.
func handleClocks(w http.ResponseWriter, r *http.Request) {
	var info unix.Sysinfo_t
	_ = unix.Sysinfo(&info)
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		reply(w, err, "")
		return
	}
	now := clocks{Monotonic: seconds(unix.CLOCK_MONOTONIC), Boottime: seconds(unix.CLOCK_BOOTTIME),
		Library: libraryBoottime(), Sysinfo: float64(info.Uptime), TimeOfDay: seconds(unix.CLOCK_REALTIME)}
	now.Uptime, _ = strconv.ParseFloat(strings.Fields(string(uptime))[0], 64)
	timersMu.Lock()
	now.Fired = fired
	text, err := json.Marshal(now)
	timersMu.Unlock()
	reply(w, err, string(text))
}

// handleTimers starts one of each kind of timer.
func handleTimers(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.URL.Query().Get("for"))
	if err != nil {
		reply(w, err, "")
		return
	}
	timersMu.Lock()
	fired = map[string]float64{}
	timersMu.Unlock()
	var started sync.WaitGroup
	for kind, wait := range timers {
		started.Add(1)
		go func() {
			begin := seconds(unix.CLOCK_MONOTONIC)
			wait(d, started.Done)
			timersMu.Lock()
			defer timersMu.Unlock()
			fired[kind] = seconds(unix.CLOCK_MONOTONIC) - begin
		}()
	}
	started.Wait()
	reply(w, nil, "ok")
}
