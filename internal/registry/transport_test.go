package registry

import (
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"shoal/internal/registry/registrytest"
)

// TestAuthorities: an authority that the operator added may sign a registry's certificate.
func TestAuthorities(t *testing.T) {
	server := httptest.NewTLSServer(ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "https://")
	ref, err := name.ParseReference(host + "/some/image:v1")
	must(t, err)
	must(t, remote.Write(ref, registrytest.Image(t), remote.WithTransport(server.Client().Transport)))
	file := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	if _, err := get(t, open(t, Config{}), host+"/some/image:v1", nil, quiet); err == nil {
		t.Error("an unknown authority was trusted")
	}
	_, err = get(t, open(t, Config{CAFiles: []string{file}}), host+"/some/image:v1", nil, quiet)
	must(t, err)
	if _, err := NewClient(Config{Dir: t.TempDir(), CAFiles: []string{os.DevNull}}); err == nil || !strings.Contains(err.Error(), "no PEM") {
		t.Errorf("no certificate: %v", err)
	}
}
