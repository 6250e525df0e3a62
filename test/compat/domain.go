package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"shoal/internal/shoal"
	"shoal/test/installation"
)

// log is what the last run's installation has said.
const log = cache + "/shoal.log"

// withDomain runs something with an installation, given the environment of clients that know
// its domain and a key: that is what all of them understand, also those of 1.x. What the
// installation leaves behind on the host is an error.
func withDomain(ctx context.Context, do func(env []string) error) (err error) {
	before, err := installation.ReadHost()
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	i, err := installation.New(".", "compat", 73, "SHOAL_LOG_FORMAT=text", "SHOAL_SHIPPED_ON_USE=false",
		"SHOAL_TLS=local", "SHOAL_TLS_LISTEN=localhost:"+port)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, i.Remove())
		for _, leak := range before.AwaitQuiet() {
			err = errors.Join(err, errors.New(leak))
		}
	}()
	if err := i.Runnable(); err != nil {
		return err
	}
	up, err := i.Up()
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, stop(i, up), os.WriteFile(log, []byte(up.Output()), 0o600))
	}()
	return do(clientEnv(i, "sandbox.localhost:"+port))
}

func stop(i *installation.Installation, up *installation.Process) error {
	err := up.Stop(syscall.SIGTERM, 30*time.Second)
	if err != nil {
		err = fmt.Errorf("shoal up did not end well: %w\n%s", err, up.Tail())
	}
	return errors.Join(err, i.Down())
}

func clientEnv(i *installation.Installation, domain string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "E2B_") {
			env = append(env, e)
		}
	}
	authority := filepath.Join(i.DataDir, "authority", "sandbox.localhost", "ca.crt")
	return append(env, "E2B_DOMAIN="+domain, "E2B_API_KEY="+shoal.DevAPIKey, "NO_COLOR=1",
		"NODE_EXTRA_CA_CERTS="+authority, "SSL_CERT_FILE="+authority, "SSL_CERT_DIR=/nonexistent")
}

// freePort is one that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
