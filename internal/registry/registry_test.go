package registry

import (
	"context"
	"crypto/rand"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"shoal/internal/registry/registrytest"
)

// frail is a registry whose connections break.
type frail struct {
	inner http.Handler
	big   string // digest of the large layer; the fields below are about requests for it

	mu     sync.Mutex
	asked  []string // the Range of every request
	cut    int      // bytes after which a request breaks off, while cuts is above 0
	cuts   int
	refuse bool          // ranges are ignored
	hold   chan struct{} // if set, requests wait for it before they break off
}

func (f *frail) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, f.big) {
		f.inner.ServeHTTP(w, r)
		return
	}
	f.mu.Lock()
	f.asked = append(f.asked, r.Header.Get("Range"))
	cut, hold := -1, f.hold
	if f.cuts > 0 {
		f.cuts--
		cut = f.cut
	}
	if f.refuse {
		r.Header.Del("Range")
	}
	f.mu.Unlock()
	f.serveRange(&cutWriter{ResponseWriter: w, left: cut, hold: hold, done: r.Context().Done()}, r)
}

// serveRange answers a range with that part of the blob, as real registries do;
// go-containerregistry's does not.
func (f *frail) serveRange(w http.ResponseWriter, r *http.Request) {
	whole := httptest.NewRecorder()
	asked := r.Header.Get("Range")
	r.Header.Del("Range")
	f.inner.ServeHTTP(whole, r)
	if asked != "" {
		r.Header.Set("Range", asked)
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(whole.Body.String()))
}

// cutWriter breaks the connection after the given number of bytes.
type cutWriter struct {
	http.ResponseWriter
	left int // -1 means no limit
	hold chan struct{}
	done <-chan struct{}
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if w.left >= 0 && len(p) > w.left {
		_, _ = w.ResponseWriter.Write(p[:w.left])
		w.ResponseWriter.(http.Flusher).Flush()
		if w.hold != nil {
			select {
			case <-w.hold:
			case <-w.done:
			}
		}
		panic(http.ErrAbortHandler)
	}
	if w.left >= 0 {
		w.left -= len(p)
	}
	return w.ResponseWriter.Write(p)
}

const bigSize = 3 << 20

// bigImage has one layer that is large and does not compress.
func bigImage(t *testing.T) (v1.Image, string) {
	t.Helper()
	content := make([]byte, bigSize)
	rand.Read(content)
	layer := registrytest.Layer(t, [2]string{"big", string(content)})
	img, err := mutate.AppendLayers(registrytest.Image(t), layer)
	must(t, err)
	digest, err := layer.Digest()
	must(t, err)
	return img, digest.String()
}

// frailRegistry serves bigImage. It also returns the image's name.
func frailRegistry(t *testing.T) (*frail, string) {
	t.Helper()
	img, digest := bigImage(t)
	f := &frail{inner: ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	reference := strings.TrimPrefix(server.URL, "http://") + "/some/image:v1"
	ref, err := name.ParseReference(reference)
	must(t, err)
	must(t, remote.Write(ref, img))
	f.big, f.asked = digest, nil
	return f, reference
}

func open(t *testing.T, cfg Config) *Client {
	t.Helper()
	cfg.Dir = t.TempDir()
	if cfg.Outbound.Allow == nil {
		cfg.Outbound.Allow = []string{"127.0.0.0/8"} // where the tests' registries are
	}
	c, err := NewClient(cfg)
	must(t, err)
	return c
}

// content is what was pulled: the digest of all its files.
type content struct{ Digest string }

func get(t *testing.T, c *Client, reference string, login *Login, say func(string)) (content, error) {
	t.Helper()
	return getUntil(t.Context(), c, reference, login, say)
}

func getUntil(ctx context.Context, c *Client, reference string, login *Login, say func(string)) (got content, err error) {
	ref, err := ParseName(reference)
	if err != nil {
		return content{}, err
	}
	i, err := c.Find(ctx, ref, reference, login)
	if err != nil {
		return content{}, err
	}
	err = i.Pull(ctx, say, func(pulled v1.Image) error {
		files := mutate.Extract(pulled)
		defer files.Close()
		digest, _, err := v1.SHA256(files)
		got.Digest = digest.String()
		return err
	})
	return got, err
}

func quiet(string) {}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *frail) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}

func (f *frail) breakOff(times, after int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cuts, f.cut, f.asked = times, after, nil
}

// wholeNames returns the names of the complete and of the partial layers.
func wholeNames(t *testing.T, c *Client) (whole, parts []string) {
	t.Helper()
	entries, err := os.ReadDir(c.layers.dir)
	must(t, err)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), partSuffix) {
			parts = append(parts, e.Name())
		} else {
			whole = append(whole, e.Name())
		}
	}
	return whole, parts
}

// await polls until another goroutine has done what done checks.
func await(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(20 * time.Second); !done(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("it does not happen")
		}
	}
}
