package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// frail is a registry whose connections break.
type frail struct {
	inner http.Handler
	big   string // digest of the layer that this is about

	mu     sync.Mutex
	asked  []string // the Range of every request for it
	cut    int      // bytes after which a request for it breaks off, while cuts is above 0
	cuts   int
	refuse bool          // ranges are not understood
	hold   chan struct{} // if set, requests for it wait, once they have sent the bytes of cut
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

// serveRange does what registries do, and go-containerregistry's does not: it answers
// a range with a part of the blob.
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

// cutWriter breaks the connection after some bytes.
type cutWriter struct {
	http.ResponseWriter
	left int // -1 is all
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
	layer := layerOf(t, [2]string{"big", string(content)})
	img, err := mutate.AppendLayers(testImage(t), layer)
	must(t, err)
	digest, err := layer.Digest()
	must(t, err)
	return img, digest.String()
}

// frailRegistry serves bigImage; it returns the image's name too.
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

// wholeNames are the names in the library under which there would be a whole blob.
func wholeNames(t *testing.T, l *Library) (whole, parts []string) {
	t.Helper()
	entries, err := os.ReadDir(l.blobs.dir)
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

// TestPullsGoOn where they broke off: within one pull, and in the next.
func TestPullsGoOn(t *testing.T) {
	f, reference := frailRegistry(t)
	l := open(t, Config{})
	f.breakOff(2, 1<<20)
	first, err := get(t, l, reference, nil, quiet)
	must(t, err)
	asked := f.requests()
	if len(asked) != 3 || asked[0] != "" || !strings.HasPrefix(asked[1], "bytes=1") || !strings.HasPrefix(asked[2], "bytes=2") {
		t.Errorf("ranges: %q", asked)
	}

	l = open(t, Config{})
	f.breakOff(1+fruitless, 0)
	f.cut = 0
	if _, err := get(t, l, reference, nil, quiet); err == nil || !strings.Contains(err.Error(), "failed to pull image") {
		t.Errorf("a registry that sends nothing: %v", err)
	}
	f.breakOff(1, 1<<20)
	ctx, cancel := context.WithCancel(t.Context())
	f.hold = make(chan struct{})
	s, err := l.Find(ctx, reference, nil, quiet)
	must(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := s.Get(ctx, quiet)
		ended <- err
	}()
	part := filepath.Join(l.blobs.dir, strings.TrimPrefix(f.big, "sha256:")+partSuffix)
	await(t, func() bool { info, err := os.Stat(part); return err == nil && info.Size() > 0 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	whole, parts := wholeNames(t, l)
	if len(whole) != 2 || len(parts) != 1 {
		t.Errorf("after a cancelled pull: %v and %v", whole, parts)
	}
	f.breakOff(0, 0)
	var said []string
	second, err := get(t, l, reference, nil, func(s string) { said = append(said, s) })
	must(t, err)
	if asked := f.requests(); len(asked) != 1 || !strings.HasPrefix(asked[0], "bytes=") || second.Digest != first.Digest {
		t.Errorf("ranges %q, image %s, want %s", asked, second.Digest, first.Digest)
	}
	if !strings.Contains(strings.Join(said, "\n"), "Going on with layer 3/3 at ") {
		t.Errorf("said: %q", said)
	}
}

// await polls for what another goroutine does.
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

// TestPullsWithoutRanges begin anew.
func TestPullsWithoutRanges(t *testing.T) {
	f, reference := frailRegistry(t)
	f.refuse = true
	l := open(t, Config{})
	f.breakOff(1, 1<<20)
	_, err := get(t, l, reference, nil, quiet)
	must(t, err)
	if asked := f.requests(); len(asked) != 2 || asked[1] == "" {
		t.Errorf("ranges: %q", asked)
	}
}

// TestDamagedLayers are noticed, whole ones and parts, and pulled again.
func TestDamagedLayers(t *testing.T) {
	f, reference := frailRegistry(t)
	l := open(t, Config{})
	first, err := get(t, l, reference, nil, quiet)
	must(t, err)
	path := filepath.Join(l.blobs.dir, strings.TrimPrefix(f.big, "sha256:"))
	for what, damage := range map[string]func() error{
		"empty": func() error { return os.Truncate(path, 0) },
		"other": func() error { return os.WriteFile(path, make([]byte, bigSize), 0o600) },
		"part, garbage": func() error {
			return errors.Join(os.Remove(path), os.WriteFile(path+partSuffix, make([]byte, 1<<20), 0o600))
		},
		"part, long": func() error {
			return errors.Join(os.Remove(path), os.WriteFile(path+partSuffix, make([]byte, 2*bigSize), 0o600))
		},
	} {
		must(t, damage())
		i, err := get(t, l, reference, nil, quiet)
		if strings.HasPrefix(what, "part") { // found out at the end, and thrown away
			if err == nil || !strings.Contains(err.Error(), "digest") {
				t.Errorf("%s: %v", what, err)
			}
			i, err = get(t, l, reference, nil, quiet)
		}
		if err != nil || i.Digest != first.Digest {
			t.Errorf("%s: %v %v", what, i, err)
		}
	}
	f.breakOff(0, 0)
	if _, err := get(t, l, reference, nil, quiet); err != nil || len(f.requests()) != 0 {
		t.Errorf("a kept layer: %v, %d requests", err, len(f.requests()))
	}
}

// TestPullsAtOnce ask for each layer once.
func TestPullsAtOnce(t *testing.T) {
	f, reference := frailRegistry(t)
	l := open(t, Config{})
	digests := make([]string, 8)
	var all sync.WaitGroup
	for n := range digests {
		all.Go(func() {
			i, err := get(t, l, reference, nil, quiet)
			if err != nil {
				t.Error(err)
			}
			digests[n] = i.Digest
		})
	}
	all.Wait()
	for _, d := range digests {
		if d == "" || d != digests[0] {
			t.Errorf("images: %v", digests)
		}
	}
	if asked := f.requests(); len(asked) != 1 {
		t.Errorf("requests for one layer: %q", asked)
	}
}

// TestWhatIsLeft by a process that died goes with the next start, and old layers
// with time; what another process has under way stays.
func TestWhatIsLeft(t *testing.T) {
	f, reference := frailRegistry(t)
	l := open(t, Config{})
	_, err := get(t, l, reference, nil, quiet)
	must(t, err)
	work, err := l.workspace()
	must(t, err)
	for _, left := range []string{"root-123", "layout-456/blobs"} {
		must(t, os.MkdirAll(filepath.Join(l.workspaceDir, left), 0o700))
	}
	_, err = Open(Config{Images: l.images, Dir: filepath.Dir(l.dir)})
	must(t, err)
	entries, err := os.ReadDir(l.workspaceDir)
	must(t, err)
	if len(entries) != 1 || filepath.Join(l.workspaceDir, entries[0].Name()) != work.dir {
		t.Errorf("left: %v, in use: %s", entries, work.dir)
	}
	work.remove()

	old := filepath.Join(l.blobs.dir, strings.TrimPrefix(f.big, "sha256:"))
	then := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(old, then, then))
	must(t, l.Sweep(then.Add(time.Minute)))
	if whole, _ := wholeNames(t, l); len(whole) != 2 {
		t.Errorf("after the sweep: %v", whole)
	}
}

// TestAuthorities: a registry's certificate may be signed by one that the operator
// trusts.
func TestAuthorities(t *testing.T) {
	server := httptest.NewTLSServer(ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "https://")
	ref, err := name.ParseReference(host + "/some/image:v1")
	must(t, err)
	must(t, remote.Write(ref, testImage(t), remote.WithTransport(server.Client().Transport)))
	file := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(file, pemOf(server.Certificate().Raw), 0o600))
	if _, err := get(t, open(t, Config{}), host+"/some/image:v1", nil, quiet); err == nil {
		t.Error("an unknown authority was trusted")
	}
	_, err = get(t, open(t, Config{CAFiles: []string{file}}), host+"/some/image:v1", nil, quiet)
	must(t, err)
	if _, err := Open(Config{Dir: t.TempDir(), CAFiles: []string{os.DevNull}}); err == nil || !strings.Contains(err.Error(), "no PEM") {
		t.Errorf("no certificate: %v", err)
	}
}

// TestECR logs in as AWS's registry wants it.
func TestECR(t *testing.T) {
	login := Login{Type: "aws", AWSAccessKeyID: "AKIDEXAMPLE", AWSSecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", AWSRegion: "us-east-1"}
	// The example "post-vanilla" of AWS's signature test suite.
	req, err := http.NewRequest(http.MethodPost, "https://example.amazonaws.com/", nil)
	must(t, err)
	sign(req, nil, login, "service", time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC))
	if got := req.Header.Get("Authorization"); !strings.HasSuffix(got, "Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b") {
		t.Errorf("signature: %s", got)
	}

	images := ociregistry.New(ociregistry.Logger(log.New(io.Discard, "", 0)))
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "AWS" || password != "pass:word" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, r)
	}))
	defer registry.Close()
	reference := strings.TrimPrefix(registry.URL, "http://") + "/some/image"
	ref, err := name.ParseReference(reference)
	must(t, err)
	must(t, writeDirect(images, ref, testImage(t)))
	aws := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetAuthorizationToken") ||
			!strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") ||
			!strings.Contains(r.Header.Get("Authorization"), "/us-east-1/ecr/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, ") {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"InvalidSignatureException","message":"The signature does not match."}`)
			return
		}
		fmt.Fprint(w, `{"authorizationData":[{"authorizationToken":"QVdTOnBhc3M6d29yZA==","expiresAt":1.4E9,"proxyEndpoint":"https://x"}]}`)
	}))
	defer aws.Close()
	l := open(t, Config{ECR: aws.URL})
	_, err = get(t, l, reference, &login, quiet)
	must(t, err)
	var wrong *Error
	stranger := login
	stranger.AWSAccessKeyID = "AKIDOTHER"
	if _, err := get(t, l, reference, &stranger, quiet); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "status 400: The signature does not match.") {
		t.Errorf("a refused login: %v", err)
	}
	login.AWSRegion = "evil.example/"
	if _, err := get(t, l, reference, &login, quiet); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "no AWS region") {
		t.Errorf("no region: %v", err)
	}
	login.AWSRegion = "us-east-1"
	aws.Close()
	if _, err := get(t, l, reference, &login, quiet); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "AWS was not reached") || !strings.HasSuffix(err.Error(), otherWays) {
		t.Errorf("AWS is away: %v", err)
	}
}
