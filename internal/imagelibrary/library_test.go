package imagelibrary

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"shoal/internal/image"
	"shoal/internal/registry"
	"shoal/internal/registry/registrytest"
)

func open(t *testing.T, cfg Config, reach registry.Config) *Library {
	t.Helper()
	images, err := image.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	reach.Dir, reach.Outbound.Allow = t.TempDir(), []string{"127.0.0.0/8"}
	registries, err := registry.NewClient(reach)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Images, cfg.Dir, cfg.Registries = images, t.TempDir(), registries
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func quiet(string) {}

func get(t *testing.T, l *Library, reference string, login *registry.Login, say func(string)) (Image, error) {
	t.Helper()
	s, err := l.Find(t.Context(), reference, login, say)
	if err != nil {
		return Image{}, err
	}
	return s.Get(t.Context(), say)
}

// TestEverySourceGivesTheSameRoot: a registry, a mirror, the output of docker save, an OCI
// layout as directory and as tar, and the plain files.
func TestEverySourceGivesTheSameRoot(t *testing.T) {
	img, dir := registrytest.Image(t), t.TempDir()
	server := httptest.NewServer(ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	ref, err := name.ParseReference(host + "/some/image:v1")
	must(t, err)
	must(t, remote.Write(ref, img))
	saved := filepath.Join(dir, "saved.tar")
	must(t, tarball.WriteToFile(saved, ref, img))
	oci, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	must(t, err)
	must(t, oci.AppendImage(img))
	packed := filepath.Join(dir, "layout.tar")
	must(t, packDir(filepath.Join(dir, "layout"), packed))
	plain := filepath.Join(dir, "root.tar")
	must(t, os.WriteFile(plain, registrytest.Tar(t, [2]string{"etc/os-release", "ID=debian\n"}, [2]string{"bin/sh", "#!"}), 0o600))

	l := open(t, Config{}, registry.Config{Mirrors: map[string]string{"docker.io": host}})
	var said []string
	pulled, err := get(t, l, host+"/some/image:v1", nil, func(s string) { said = append(said, s) })
	must(t, err)
	if len(said) != 2 || !strings.HasPrefix(said[1], "Layer 2/2: ") {
		t.Errorf("progress: %q", said)
	}
	if pulled.Env["PATH"] != "/image/bin" || pulled.Env["A"] != "b=c" || len(pulled.Env) != 2 {
		t.Errorf("environment: %v", pulled.Env)
	}
	for what, get := range map[string]func() (Image, error){
		"mirror":     func() (Image, error) { return get(t, l, "some/image:v1", nil, quiet) },
		"docker":     func() (Image, error) { return l.Import(t.Context(), "saved", saved, quiet) },
		"layout":     func() (Image, error) { return l.Import(t.Context(), "layout", filepath.Join(dir, "layout"), quiet) },
		"layout.tar": func() (Image, error) { return l.Import(t.Context(), "packed", packed, quiet) },
		"files":      func() (Image, error) { return l.Import(t.Context(), "plain", plain, quiet) },
	} {
		if i, err := get(); err != nil || i.Digest != pulled.Digest {
			t.Errorf("%s: %v %v, want %s", what, i.Digest, err, pulled.Digest)
		}
	}
}

func TestLibrary(t *testing.T) {
	l := open(t, Config{}, registry.Config{})
	file := filepath.Join(t.TempDir(), "root.tar")
	must(t, os.WriteFile(file, registrytest.Tar(t, [2]string{"one", "1"}), 0o600))
	first, err := l.Import(t.Context(), "ubuntu:22.04", file, quiet)
	must(t, err)
	for _, alias := range []string{"ubuntu:22.04", "docker.io/library/ubuntu:22.04", " ubuntu:22.04"} {
		if got, err := get(t, l, alias, nil, quiet); err != nil || got.Digest != first.Digest {
			t.Errorf("%q: %v %v", alias, got, err)
		}
	}
	if l.Version("ubuntu:22.04") != first.Digest || l.Version("ubuntu:24.04") != "" {
		t.Error("versions")
	}
	must(t, os.WriteFile(file, registrytest.Tar(t, [2]string{"one", "2"}), 0o600))
	second, err := l.Import(t.Context(), "ubuntu:22.04", file, quiet)
	must(t, err)
	if l.Version("ubuntu:22.04") != second.Digest || second.Digest == first.Digest {
		t.Error("an import did not replace the image")
	}
	list, err := l.List()
	if err != nil || len(list) != 1 || list[0].Name != "index.docker.io/library/ubuntu:22.04" {
		t.Errorf("list: %v %v", list, err)
	}
	must(t, l.Remove("ubuntu:22.04"))
	var wrong *Error
	if err := l.Remove("ubuntu:22.04"); !errors.As(err, &wrong) {
		t.Errorf("removed twice: %v", err)
	}
	must(t, os.WriteFile(file, []byte("no archive at all, but long enough to be looked at"), 0o600))
	if _, err := l.Import(t.Context(), "x", file, quiet); !errors.As(err, &wrong) {
		t.Errorf("no archive: %v", err)
	}
	if _, err := l.Import(t.Context(), "No Name", file, quiet); !errors.As(err, &wrong) {
		t.Errorf("no name: %v", err)
	}
}

// TestRefusals: the messages are those that users of the SDKs know.
func TestRefusals(t *testing.T) {
	images := ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case !strings.Contains(r.URL.Path, "private") || user == "me" && password == "secret":
			images.ServeHTTP(w, r)
		case user == "other":
			w.WriteHeader(http.StatusForbidden)
		default:
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	l := open(t, Config{StandIns: map[string]Image{"ubuntu": {Name: "base", Digest: "sha256:stand-in"}}}, registry.Config{})
	ref, err := name.ParseReference(host + "/private/image")
	must(t, err)
	// The registry of the test asks for a login by path only, and pings have none.
	must(t, registrytest.Write(images, ref, registrytest.Image(t)))

	for reference, want := range map[string]string{
		"No/Such Name":         "invalid image reference 'No/Such Name': ",
		"python:${VERSION}":    "invalid image reference 'python:${VERSION}': the SDK does not fill variables",
		host + "/no/such:v1":   "not found: ",
		"127.0.0.1:1/no/image": "`shoal image import`",
	} {
		var wrong *Error
		if _, err := get(t, l, reference, nil, quiet); !errors.As(err, &wrong) || !strings.Contains(wrong.Message, want) {
			t.Errorf("%s: %v, want %q", reference, err, want)
		}
	}
	for user, want := range map[string]string{
		"":      "access denied to '" + host + "/private/image': authentication required or insufficient permissions",
		"other": "access denied to '" + host + "/private/image': you don't have permission to pull this image",
		"me":    "",
	} {
		var login *registry.Login
		if user != "" {
			login = &registry.Login{Type: "registry", Username: user, Password: "secret"}
		}
		_, err := get(t, l, host+"/private/image", login, quiet)
		if got := fmt.Sprint(err); want == "" && err != nil || want != "" && got != want {
			t.Errorf("%q: %v, want %q", user, err, want)
		}
	}
	if _, err := get(t, l, "127.0.0.1:1/x", &registry.Login{Type: "ftp"}, quiet); err == nil || !strings.Contains(err.Error(), "'ftp'") {
		t.Errorf("login of an unknown type: %v", err)
	}
	said := ""
	if s, err := l.Find(t.Context(), "127.0.0.1:1/library/ubuntu:22.04", nil, quiet); err != nil || s.StandIn != "sha256:stand-in" {
		t.Errorf("stand-in: %+v %v", s, err)
	}
	i, err := get(t, l, "127.0.0.1:1/library/ubuntu:22.04", nil, func(s string) { said = s })
	if err != nil || i.Digest != "sha256:stand-in" || !strings.Contains(said, "stands in") {
		t.Errorf("stand-in: %v %v %q", i, err, said)
	}
}

func packDir(dir, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	return errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), f.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
