package attack

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A registry that a tenant names answers whatever it likes. This one is at an address that
// the operator has opened; the name of the repository says how it misbehaves. At loginAddress
// the same one wants a login, at a place inside.

const (
	manifestType = "application/vnd.docker.distribution.manifest.v2+json"
	configType   = "application/vnd.docker.container.image.v1+json"
	layerType    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	taunt        = "words-of-the-registry" // must be in no log
)

// content is a blob or manifest with its digest.
type content struct {
	data   []byte
	digest string
}

func contentOf(data []byte) content {
	sum := sha256.Sum256(data)
	return content{data, "sha256:" + hex.EncodeToString(sum[:])}
}

// hostileRegistry is its handler.
type hostileRegistry struct {
	config, bomb content
	noise        []byte
	stop         context.Context // ends the endless answers
}

// Where redirects lead. The registry library itself refuses the first, but follows names.
var (
	inward       = "http://10.1.2.3/latest/"
	inwardByName = "http://" + strings.TrimSuffix(nameOf("169.254.169.254"), ".") + "/latest/"
)

func newHostileRegistry(stop context.Context) *hostileRegistry {
	noise := make([]byte, 1<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(noise)
	return &hostileRegistry{stop: stop, noise: noise, bomb: contentOf(gzipBomb()),
		config: contentOf([]byte(`{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:` +
			strings.Repeat("a", 64) + `"]}}`))}
}

// layer is what a repository's layer should be. Each has its own, so that none is known from
// another.
func (h *hostileRegistry) layer(how string) content {
	if how == "bomb" {
		return h.bomb
	}
	return contentOf(append([]byte(how), h.noise...))
}

// bombSize is what the bomb unfolds to, in bytes: more than a sandbox's disk, and more than
// an image may have.
const bombSize = 40 << 30

// gzipBomb is a layer with one file of zeros. A gzip stream may have several members, so one
// small one is repeated.
func gzipBomb() []byte {
	head := make([]byte, 512)
	copy(head, "zeros")
	copy(head[100:], "0000644\x000000000\x000000000\x00")
	head[124] = 0x80 // the size in base 256
	for i, shift := 135, 0; i > 124 && shift < 64; i, shift = i-1, shift+8 {
		head[i] = byte(uint64(bombSize) >> shift)
	}
	head[124] |= 0x80
	copy(head[136:], "00000000000\x00        0")
	copy(head[257:], "ustar\x0000")
	sum := 0
	for _, b := range head {
		sum += int(b)
	}
	copy(head[148:], fmt.Sprintf("%06o\x00 ", sum))
	pack := func(data []byte) []byte {
		var out bytes.Buffer
		w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
		_, _ = w.Write(data)
		_ = w.Close()
		return out.Bytes()
	}
	zeros := pack(make([]byte, 64<<20))
	return append(pack(head), bytes.Repeat(zeros, bombSize/(64<<20))...)
}

// manifest describes an image of one layer.
func (h *hostileRegistry) manifest(layer content, size int) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"size":%d,"digest":%q},`+
		`"layers":[{"mediaType":%q,"size":%d,"digest":%q}]}`, manifestType, configType, len(h.config.data),
		h.config.digest, layerType, size, layer.digest)
}

// ServeHTTP answers /v2/HOW/image/{manifests,blobs}/….
func (h *hostileRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	how, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
	switch {
	case r.URL.Path == "/token":
		http.Redirect(w, r, inwardByName, http.StatusTemporaryRedirect)
	case how == "" && r.Host == loginAddress:
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+inwardByName+`",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	case how == "" && r.Host == secondLogin:
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+strings.TrimSuffix(nameOf(registryHost), ".")+`:5000/token",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	case how == "": // the ping
	case how == "redirect-loop":
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	case how == "refuses":
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, taunt)
	case how == "page":
		fmt.Fprintf(w, "<h1>%s</h1>", taunt)
	case how == "endless-head":
		h.pourHead(w)
	case how == "silent":
		select {
		case <-r.Context().Done():
		case <-h.stop.Done():
		}
	case strings.Contains(rest, "/manifests/"):
		h.manifests(w, r, how)
	case strings.HasSuffix(rest, h.config.digest):
		_, _ = w.Write(h.config.data)
	default:
		h.layers(w, r, how)
	}
}

func (h *hostileRegistry) manifests(w http.ResponseWriter, r *http.Request, how string) {
	layer := h.layer(how)
	manifest := h.manifest(layer, len(layer.data))
	switch how {
	case "redirect-manifest":
		http.Redirect(w, r, inward, http.StatusTemporaryRedirect)
		return
	case "redirect-manifest-by-name":
		http.Redirect(w, r, inwardByName, http.StatusTemporaryRedirect)
		return
	case "redirect-own":
		http.Redirect(w, r, "http://localhost"+server.API[strings.LastIndex(server.API, ":"):], http.StatusTemporaryRedirect)
		return
	case "endless-manifest":
		w.Header().Set("Content-Type", manifestType)
		h.pour(w, r, []byte(`{"`+taunt+`": [`), 0)
		return
	case "huge-manifest":
		manifest = append(manifest, bytes.Repeat([]byte(" "), 64<<20)...)
	case "wrong-size":
		manifest = h.manifest(layer, 10)
	case "vast":
		manifest = h.manifest(layer, 1<<62)
	case "foreign-layer":
		manifest = bytes.Replace(manifest, []byte(`"layers":[{`), []byte(`"layers":[{"urls":["`+inwardByName+`"],`), 1)
		manifest = bytes.Replace(manifest, []byte("diff.tar.gzip"), []byte("diff.tar.foreign.gzip"), 1)
		manifest = bytes.ReplaceAll(manifest, []byte("rootfs.diff.tar.foreign"), []byte("rootfs.foreign.diff.tar"))
	}
	w.Header().Set("Content-Type", manifestType)
	_, _ = w.Write(manifest)
}

func (h *hostileRegistry) layers(w http.ResponseWriter, r *http.Request, how string) {
	layer := h.layer(how)
	switch how {
	case "redirect-layer":
		http.Redirect(w, r, inward, http.StatusTemporaryRedirect)
	case "redirect-layer-by-name":
		http.Redirect(w, r, inwardByName, http.StatusTemporaryRedirect)
	case "foreign-layer":
		w.WriteHeader(http.StatusNotFound)
	case "wrong-digest":
		_, _ = w.Write(bytes.Repeat([]byte(taunt+"\n"), len(layer.data)/len(taunt))[:len(layer.data)])
	case "endless-layer":
		h.pour(w, r, []byte(taunt), 0)
	case "drip":
		h.pour(w, r, []byte("x"), 200*time.Millisecond)
	default:
		_, _ = w.Write(layer.data)
	}
}

// pour answers without end: with noise, or with a byte at a time.
func (h *hostileRegistry) pour(w http.ResponseWriter, r *http.Request, start []byte, pause time.Duration) {
	_, err := w.Write(start)
	for err == nil && r.Context().Err() == nil && h.stop.Err() == nil {
		if pause > 0 {
			_, err = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			time.Sleep(pause)
			continue
		}
		_, err = w.Write(h.noise)
	}
}

// pourHead sends header lines without end.
func (h *hostileRegistry) pourHead(w http.ResponseWriter) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, err = buffered.WriteString("HTTP/1.1 200 OK\r\n")
	for n := 0; err == nil && h.stop.Err() == nil; n++ {
		_, err = fmt.Fprintf(buffered, "X-%d: %s\r\n", n, taunt)
	}
}

// misbehaviors are what is tried, with words that the build's log must have, so that the
// tenant learns what is wrong.
var misbehaviors = map[string]string{
	"redirect-manifest": "not a container registry", "redirect-manifest-by-name": "--outbound-allow",
	"redirect-layer": "--outbound-allow", "redirect-layer-by-name": "--outbound-allow",
	"redirect-own": "--outbound-allow", "redirect-loop": "redirects too often", "foreign-layer": "not found",
	"refuses": "status 418", "page": "not a container registry", "endless-head": "not understood",
	"endless-manifest": "too large", "huge-manifest": "too large", "vast": "larger than",
	"wrong-size": "layer 1/1", "wrong-digest": "layer 1/1", "endless-layer": "layer 1/1",
	"noise": "failed to unpack",
}

// slowMisbehaviors take as long as Shoal waits for them or works on them, so they are for
// the long form.
var slowMisbehaviors = map[string]string{"silent": "does not answer in time", "drip": "took longer than 10m",
	"bomb": "larger than"}

// TestHostileRegistry builds from a registry that misbehaves. Each build fails and says why
// in our words; the host stays within bounds.
func TestHostileRegistry(t *testing.T) {
	nothingArrives(t)
	stop, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	registry := newHostileRegistry(stop)
	for _, address := range []string{registryAddress, loginAddress, secondLogin} {
		if err := serveAt(inside, address, registry); err != nil {
			t.Fatal(err)
		}
	}
	tries := map[string]string{} // by the reference, without the tag
	for how, want := range misbehaviors {
		tries[registryAddress+"/"+how+"/image"] = want
	}
	tries[loginAddress+"/login/image"], tries[secondLogin+"/login/image"] = "--outbound-allow", "--outbound-allow"
	if *long {
		for how, want := range slowMisbehaviors {
			tries[registryAddress+"/"+how+"/image"] = want
		}
	}
	watch := watchServer(t)
	disk := usedSpace(t)
	var wg sync.WaitGroup
	places := make(chan struct{}, 5)
	for name, want := range tries {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			tryImage(t, name, want)
		})
	}
	wg.Wait()
	t.Logf("shoal had up to %d MiB of memory; the disk has %d MiB more", watch.peak()>>20, (usedSpace(t)-disk)>>20)
	if more := usedSpace(t) - disk; more > 64<<20 {
		t.Errorf("%d MiB are left on the disk", more>>20)
	}
}

// tryImage builds from an image, which must fail with want in the log, and with nothing that
// the registry said.
func tryImage(t *testing.T, name, want string) {
	began := time.Now()
	o, err := build(t.Context(), "registry-"+strings.NewReplacer("/", "-", ":", "-", ".", "-").Replace(name), name+":v1", "")
	t.Logf("%s: %s after %s: %.250s", name, o.status, time.Since(began).Round(time.Millisecond), lastLine(o.log))
	if err != nil || o.status != "error" {
		t.Errorf("%s: %+v, error %v", name, o, err)
	}
	if !strings.Contains(o.log, want) {
		t.Errorf("%s: the log does not say %q: %s", name, want, o.log)
	}
	for _, foreign := range []string{taunt, secret, "10.1.2.3", "169.254", "169-254"} {
		if strings.Contains(o.log, foreign) {
			t.Errorf("%s: the log quotes %q: %s", name, foreign, o.log)
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// usedSpace is how much the files in the installation's data directory take, in bytes.
func usedSpace(t *testing.T) int64 {
	t.Helper()
	sum := int64(0)
	err := filepath.Walk(server.DataDir, func(_ string, info os.FileInfo, err error) error {
		if os.IsNotExist(err) {
			return nil // removed meanwhile
		} else if err == nil && info.Mode().IsRegular() {
			sum += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
