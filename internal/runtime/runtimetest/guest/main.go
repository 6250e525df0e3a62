// The guest of the driver's tests: a first process that does what it is asked.
package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	counter atomic.Int64
	held    []byte
)

func main() {
	if len(os.Args) == 3 {
		child(os.Args[1], os.Args[2])
	}
	switch {
	case len(os.Args) == 2 && os.Args[1] == "true":
		return
	case len(os.Args) == 4 && os.Args[1] == "cost": // on the host, to compare
		fmt.Println(cost(os.Args[2], os.Args[3]))
		return
	case len(os.Args) == 4: // a shell, which is told "call NAME"
		what, name, _ := strings.Cut(os.Args[3], " ")
		child(what, name)
	}
	fmt.Fprintln(os.Stderr, "guest begins")
	if len(os.Args) > 1 { // a child that waits, with so many MiB of memory
		n, _ := strconv.Atoi(os.Args[1])
		hold(n)
		fmt.Println("ready")
		time.Sleep(time.Hour)
	}
	http.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, counter.Add(1)) })
	http.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
		data, err := os.ReadFile(r.URL.Query().Get("path"))
		reply(w, err, string(data))
	})
	http.HandleFunc("/hostname", func(w http.ResponseWriter, r *http.Request) {
		name, err := os.Hostname()
		reply(w, err, name)
	})
	http.HandleFunc("/fill", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.ParseInt(r.URL.Query().Get("mb"), 10, 64)
		f, err := os.Create(r.URL.Query().Get("path"))
		if err == nil {
			_, err = io.CopyN(f, zeros{}, n<<20)
			f.Close()
		}
		reply(w, err, "ok")
	})
	http.HandleFunc("/hold", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("mb"))
		hold(n)
		fmt.Fprint(w, "ok")
	})
	http.HandleFunc("/burn", func(w http.ResponseWriter, r *http.Request) {
		for range runtime.NumCPU() {
			go func() {
				for {
					counter.Load()
				}
			}()
		}
		fmt.Fprint(w, "ok")
	})
	http.HandleFunc("/alternate", func(w http.ResponseWriter, r *http.Request) {
		go func() {
			for {
				syscall.Getppid()
			}
		}()
		fmt.Fprint(w, "ok")
	})
	http.HandleFunc("/open", func(w http.ResponseWriter, r *http.Request) {
		f, err := os.OpenFile(r.URL.Query().Get("path"), syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
		if err == nil {
			f.Close()
		}
		reply(w, err, "ok")
	})
	http.HandleFunc("/remove", func(w http.ResponseWriter, r *http.Request) {
		reply(w, os.Remove(r.URL.Query().Get("path")), "ok")
	})
	http.HandleFunc("/write", func(w http.ResponseWriter, r *http.Request) {
		mode, _ := strconv.ParseUint(r.URL.Query().Get("mode"), 8, 32)
		reply(w, os.WriteFile(r.URL.Query().Get("path"), []byte(r.URL.Query().Get("text")), os.FileMode(mode)), "ok")
	})
	http.HandleFunc("/keep", handleKeep)
	http.HandleFunc("/kept", handleKept)
	http.HandleFunc("/copy", handleCopy)
	http.HandleFunc("/lock", handleLock)
	http.HandleFunc("/call", handleCall)
	http.HandleFunc("/clocks", handleClocks)
	http.HandleFunc("/timers", handleTimers)
	http.HandleFunc("/cost", handleCost)
	http.HandleFunc("/metadata", handleMetadata)
	http.HandleFunc("/fork", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		var err error
		started := 0
		for ; started < n && err == nil; started++ {
			err = exec.Command("/init", "0").Start()
		}
		reply(w, err, strconv.Itoa(started))
	})
	http.HandleFunc("/child", func(w http.ResponseWriter, r *http.Request) {
		child := exec.Command(cmp.Or(r.URL.Query().Get("program"), "/init"), r.URL.Query().Get("mb"))
		out, err := child.StdoutPipe()
		if err == nil {
			err = child.Start()
		}
		if err == nil {
			_, err = io.ReadFull(out, make([]byte, len("ready")))
			go func() { _ = child.Wait() }()
		}
		reply(w, err, "ok")
	})
	fmt.Fprintln(os.Stderr, http.ListenAndServe(":49983", nil))
}

func hold(mb int) {
	held = make([]byte, mb<<20)
	for i := range held {
		held[i] = byte(i>>12) | 1
	}
}

func reply(w http.ResponseWriter, err error, text string) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, text)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
