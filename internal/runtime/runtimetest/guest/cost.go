package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// costs are what everything in a guest consists of.
var costs = map[string]func(n int) error{
	"call": func(n int) error { // which the kernel answers with what it knows
		for range n {
			syscall.Getppid()
		}
		return nil
	},
	"fault": touchPages, // of a file in memory that is mapped
	"start": func(n int) error {
		for range n {
			if err := exec.Command("/init", "true").Run(); err != nil {
				return err
			}
		}
		return nil
	},
}

func handleCost(w http.ResponseWriter, r *http.Request) {
	text, err := cost(r.URL.Query().Get("of"), r.URL.Query().Get("n"))
	reply(w, err, text)
}

// cost tells the nanoseconds that one of n takes.
func cost(of, n string) (string, error) {
	times, err := strconv.Atoi(n)
	if err != nil || costs[of] == nil {
		return "", fmt.Errorf("%s times %q: %w", n, of, err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := time.Now()
	err = costs[of](times)
	return fmt.Sprint(time.Since(begin).Nanoseconds() / int64(max(times, 1))), err
}

// touchPages reads a byte of each page of this program, mapped anew as often as it takes. A page far from the
// one before is not brought with it.
func touchPages(n int) error {
	f, err := os.Open("/init")
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const stride = 1 << 17
	var sum byte
	for n > 0 {
		data, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
		if err != nil {
			return err
		}
		for at := 0; at < len(data) && n > 0; at += stride {
			sum += data[at]
			n--
		}
		if err := syscall.Munmap(data); err != nil {
			return err
		}
	}
	runtime.KeepAlive(sum)
	return nil
}
