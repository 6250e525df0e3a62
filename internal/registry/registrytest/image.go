// Package registrytest makes images and registries for tests.
package registrytest

import (
	"archive/tar"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Layer is a layer of plain files, each a name and its content.
func Layer(t *testing.T, files ...[2]string) v1.Layer {
	t.Helper()
	data := Tar(t, files...)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// Tar is an archive of plain files.
func Tar(t *testing.T, files ...[2]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1])), Typeflag: tar.TypeReg, ModTime: time.Unix(1e9, 0)}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Image returns an image with a file that its second layer removes.
func Image(t *testing.T) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image,
		Layer(t, [2]string{"etc/os-release", "ID=debian\n"}, [2]string{"gone", "x"}),
		Layer(t, [2]string{".wh.gone", ""}, [2]string{"bin/sh", "#!"}))
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.Config(img, v1.Config{Env: []string{"PATH=/image/bin", " ", "A=b=c"}, User: "ignored"})
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// Write puts an image into a registry's handler directly, bypassing the login that a test
// may require.
func Write(handler http.Handler, ref name.Reference, img v1.Image) error {
	server := httptest.NewServer(handler)
	defer server.Close()
	inside, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/" + ref.Context().RepositoryStr() + ":" + ref.Identifier())
	if err != nil {
		return err
	}
	return remote.Write(inside, img)
}
