package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"shoal/internal/atomicfile"
)

const (
	// partSuffix ends the name of a blob that is not whole yet.
	partSuffix = ".part"
	// fruitless is how many requests in a row may bring nothing before a pull fails.
	fruitless = 3
	// pullPause is the wait between two requests for the same blob.
	pullPause = 500 * time.Millisecond
	// stallLimit is how long a connection may bring nothing.
	stallLimit = time.Minute
	// sayEvery is how often a pull says how far it is.
	sayEvery = 3 * time.Second
)

// blobs keeps the layers of images by their digests. A name without a suffix is a
// whole blob; what a pull that broke off has is kept beside it, and the next one goes
// on there. A file's modification time is that of its last use. One process pulls into
// a directory: that which has the machine's lock.
type blobs struct {
	dir string

	mu   sync.Mutex               // guards busy
	busy map[string]chan struct{} // by digest; closed when its pull has ended
}

// blob is one to have.
type blob struct {
	url    string
	digest string // "sha256:" and hex
	size   int64  // bytes
	name   string // for people: "layer 2/5"
}

func openBlobs(dir string) (*blobs, error) {
	return &blobs{dir: dir, busy: map[string]chan struct{}{}}, os.MkdirAll(dir, 0o700)
}

// get returns the file of a blob, whose content has its digest; it asks for what is
// missing. Of several who want the same at once, one asks.
func (b *blobs) get(ctx context.Context, client *http.Client, want blob, say func(string)) (string, error) {
	hexDigest, ok := strings.CutPrefix(want.digest, "sha256:")
	if !ok || len(hexDigest) != sha256.Size*2 || strings.Trim(hexDigest, "0123456789abcdef") != "" {
		return "", &Error{fmt.Sprintf("the image names a layer by '%s', which is not a SHA-256 digest", want.digest)}
	}
	release, err := b.claim(ctx, want.digest)
	if err != nil {
		return "", err
	}
	defer release()
	path := filepath.Join(b.dir, hexDigest)
	if err := verify(path, want); err == nil {
		now := time.Now()
		return path, os.Chtimes(path, now, now)
	} else if !errors.Is(err, fs.ErrNotExist) {
		say(fmt.Sprintf("The kept copy of %s is damaged; it is pulled again", want.name))
		if err := os.Remove(path); err != nil {
			return "", err
		}
	}
	if err := b.pull(ctx, client, want, path, say); err != nil {
		return "", err
	}
	return path, nil
}

// claim waits until nobody else has a digest's files.
func (b *blobs) claim(ctx context.Context, digest string) (release func(), err error) {
	for {
		b.mu.Lock()
		other := b.busy[digest]
		if other == nil {
			mine := make(chan struct{})
			b.busy[digest] = mine
			b.mu.Unlock()
			return func() {
				b.mu.Lock()
				delete(b.busy, digest)
				b.mu.Unlock()
				close(mine)
			}, nil
		}
		b.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// pull brings a part to its end, by as many requests as it takes, and gives it its
// name once it is checked and on the disk.
func (b *blobs) pull(ctx context.Context, client *http.Client, want blob, path string, say func(string)) error {
	part, err := os.OpenFile(path+partSuffix, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer part.Close()
	at, err := part.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	told := time.Now()
	if at > 0 {
		say(fmt.Sprintf("Going on with %s at %d of %s MiB", want.name, at>>20, mib(want.size)))
	}
	for failures := 0; at < want.size; {
		before := at
		at, err = request(ctx, client, want, part, at, func(n int64) {
			if time.Since(told) >= sayEvery {
				told = time.Now()
				say(fmt.Sprintf("Pulling %s: %d of %s MiB", want.name, n>>20, mib(want.size)))
			}
		})
		if err == nil {
			continue
		}
		if failures++; at > before {
			failures = 0
		}
		if answered := new(*transport.Error); ctx.Err() != nil || failures == fruitless || errors.As(err, answered) {
			return fmt.Errorf("%s, after %d of %s MiB: %w", want.name, at>>20, mib(want.size), err)
		}
		select {
		case <-time.After(pullPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := part.Sync(); err != nil {
		return err
	}
	if err := verify(part.Name(), want); err != nil {
		// Nobody can tell where it went wrong: the next pull begins anew.
		return errors.Join(err, os.Remove(part.Name()))
	}
	return atomicfile.Rename(part.Name(), path, atomicfile.Durable)
}

// request asks for a blob from an offset on and writes what comes. It returns how much
// there is of it now.
func request(ctx context.Context, client *http.Client, want blob, part *os.File, at int64, progress func(int64)) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(stallLimit, func() { cancel(fmt.Errorf("nothing came for %s", stallLimit)) })
	defer stalled.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, want.url, nil)
	if err != nil {
		return at, err
	}
	if at > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", at))
	}
	resp, err := client.Do(req)
	if err != nil {
		return at, errors.Join(err, context.Cause(ctx))
	}
	defer resp.Body.Close()
	if at > 0 && resp.StatusCode != http.StatusPartialContent {
		if resp.StatusCode != http.StatusRequestedRangeNotSatisfiable {
			if err := transport.CheckError(resp, http.StatusOK); err != nil {
				return at, err
			}
		}
		at = 0 // this registry sends all or nothing
	} else if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		return at, err
	}
	if err := part.Truncate(at); err != nil {
		return at, err
	}
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return at, errors.New("the registry does not go on where the last pull ended")
	}
	out := &writerAt{file: part, at: at, wrote: func(n int64) { stalled.Reset(stallLimit); progress(n) }}
	_, err = io.Copy(out, io.LimitReader(resp.Body, want.size-at))
	if err == nil && out.at < want.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return out.at, err
}

// writerAt writes a file from an offset on.
type writerAt struct {
	file  *os.File
	at    int64
	wrote func(at int64)
}

func (w *writerAt) Write(p []byte) (int, error) {
	n, err := w.file.WriteAt(p, w.at)
	w.at += int64(n)
	w.wrote(w.at)
	return n, err
}

// verify compares a file with what a blob must be.
func verify(path string, want blob) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != want.digest {
		return fmt.Errorf("%s has the digest %s, and %s was asked for", want.name, got, want.digest)
	}
	return nil
}

// sweep removes what was not used since a time, whole or not.
func (b *blobs) sweep(since time.Time) error {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, infoErr := e.Info()
		if infoErr != nil || !info.ModTime().Before(since) {
			continue
		}
		digest := "sha256:" + strings.TrimSuffix(e.Name(), partSuffix)
		b.mu.Lock()
		if b.busy[digest] == nil {
			err = errors.Join(err, os.Remove(filepath.Join(b.dir, e.Name())))
		}
		b.mu.Unlock()
	}
	return err
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f", float64(bytes)/(1<<20)) }
