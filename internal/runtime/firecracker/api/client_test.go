package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shoal/internal/shoal"
)

// serve answers on a socket whose path is longer than an address can be, as jails' are.
func serve(t *testing.T, answer http.HandlerFunc) (socket string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 80))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	l, err := net.Listen("unix", fmt.Sprintf("/proc/self/fd/%d/api.sock", fd))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: answer}
	go func() { _ = server.Serve(l) }() // ends with Close
	t.Cleanup(func() { server.Close() })
	return filepath.Join(dir, "api.sock")
}

func TestRequests(t *testing.T) {
	ctx := context.Background()
	var got string
	c := New(serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.URL.Path + " " + string(body)
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `{"id":"x","state":"Paused","vmm_version":"1.16.1"}`)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	for want, call := range map[string]func() error{
		`PUT /drives/root {"drive_id":"root","path_on_host":"/disk","is_root_device":false,"is_read_only":false,"cache_type":"Writeback"}`: func() error {
			return c.SetDrive(ctx, Drive{ID: "root", Path: "/disk", Cache: "Writeback"})
		},
		`PATCH /vm {"state":"Paused"}`:                    func() error { return c.Pause(ctx) },
		`PATCH /vm {"state":"Resumed"}`:                   func() error { return c.Resume(ctx) },
		`PUT /actions {"action_type":"InstanceStart"}`:    func() error { return c.Start(ctx) },
		`PATCH /balloon {"amount_mib":7}`:                 func() error { return c.Inflate(ctx, 7) },
		`PUT /vsock {"guest_cid":3,"uds_path":"/v.sock"}`: func() error { return c.SetVsock(ctx, Vsock{3, "/v.sock"}) },
		`PUT /snapshot/load {"snapshot_path":"/s","mem_backend":{"backend_type":"Uffd","backend_path":"/u"},"track_dirty_pages":true,"resume_vm":false,"network_overrides":[{"iface_id":"eth0","host_dev_name":"g0"}]}`: func() error {
			return c.LoadSnapshot(ctx, Load{State: "/s", Memory: Backend{"Uffd", "/u"}, Dirty: true,
				Networks: []Override{{"eth0", "g0"}}})
		},
	} {
		if err := call(); err != nil || got != want {
			t.Errorf("%s\nwas sent as %s\n%v", want, got, err)
		}
	}
	if i, err := c.Instance(ctx); err != nil || i.State != Paused || i.Version != "1.16.1" {
		t.Errorf("%+v %v", i, err)
	}
}

func TestFaults(t *testing.T) {
	body := ""
	c := New(serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, body)
	}))
	for answer, want := range map[string]string{`{"fault_message":"no such drive"}`: "no such drive",
		`{"error":"The MMDS data store is not initialized."}`: "The MMDS data store is not initialized.",
		"something else\n": "something else", "": ""} {
		body = answer
		err := c.Start(context.Background())
		var fault *Fault
		if !errors.As(err, &fault) || fault.Message != want || fault.Status != 400 || !shoal.ErrFirecrackerAPI.Matches(err) ||
			!strings.Contains(err.Error(), "PUT /actions: 400: "+want) {
			t.Errorf("%q became %v", answer, err)
		}
	}
}

func TestAwait(t *testing.T) {
	missing := New(filepath.Join(t.TempDir(), "api.sock"))
	done := make(chan struct{})
	close(done)
	if _, err := missing.Await(context.Background(), done); !shoal.ErrFirecrackerAPI.Matches(err) {
		t.Errorf("one that ended: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := missing.Await(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("one that is not waited for: %v", err)
	}
	c := New(serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"state":"Not started"}`) }))
	if i, err := c.Await(context.Background(), nil); err != nil || i.State != NotStarted {
		t.Errorf("%+v %v", i, err)
	}
}

func FuzzFaultMessage(f *testing.F) {
	f.Add([]byte(`{"fault_message":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if message := faultMessage(data); message == "" && json.Valid(data) && len(data) > 0 &&
			!strings.ContainsAny(string(data), "{ \t\r\n") {
			t.Errorf("%q says nothing", data)
		}
	})
}
