package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"shoal/internal/freeport"
	"shoal/internal/shoal"
	"shoal/test/installation"
)

// log is what the last run's installation has said.
const log = cache + "/shoal.log"

// withDomain runs something with an installation, given the environment of clients that know
// its domain and a key: that is what all of them understand, also those of 1.x.
func withDomain(do func(env []string) error) error {
	free, err := freeport.Take()
	if err != nil {
		return err
	}
	port := strconv.Itoa(free)
	return installation.Serve(".", "compat", 99, log, []string{"SHOAL_LOG_FORMAT=text",
		"SHOAL_SHIPPED_ON_USE=false", "SHOAL_TLS=local", "SHOAL_TLS_LISTEN=localhost:" + port},
		func(i *installation.Installation) error { return do(clientEnv(i, "sandbox.localhost:"+port)) })
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
