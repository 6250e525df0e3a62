package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"shoal/internal/atomicfile"
	"shoal/internal/outbound"
	"shoal/internal/shoal"
)

const (
	// fruitless is how many requests in a row may fail without data before a pull fails.
	fruitless = 3
	// pullPause is the wait between two requests for the same blob.
	pullPause = 500 * time.Millisecond
	// stallLimit is how long a connection may deliver nothing before it is given up.
	stallLimit = time.Minute
	// sayEvery is how often a pull reports its progress.
	sayEvery = 3 * time.Second
	// maxRefusal bounds what is read, in bytes, of an answer that is not a blob.
	maxRefusal = 1 << 20
)

// blob is a layer in a registry.
type blob struct {
	url    string
	digest string // "sha256:" and hex
	size   int64  // bytes
	name   string // for messages: "layer 2/5"
}

// pull completes a partial file, with as many requests as it takes. It renames the file to
// path once the content is verified and on the disk.
func (s *layerStore) pull(ctx context.Context, client *http.Client, want blob, path string,
	say func(string)) error {
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
		if ctx.Err() != nil || failures == fruitless || final(err) {
			return &interrupted{fmt.Sprintf("%s, after %d of %s MiB", want.name, at>>20, mib(want.size)), err}
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
		// It is unknown which bytes are wrong, so the next pull must start over.
		return errors.Join(err, os.Remove(part.Name()))
	}
	return atomicfile.Rename(part.Name(), path, atomicfile.Durable)
}

// final reports whether asking again is of no use.
func final(err error) bool {
	return errors.As(err, new(*transport.Error)) || shoal.ErrOutboundRefused.Matches(err) ||
		errors.As(err, new(*fs.PathError))
}

// request asks for a blob starting at an offset and appends the data to part. It returns
// how many bytes of the blob part has then.
func request(ctx context.Context, client *http.Client, want blob, part *os.File, at int64,
	progress func(int64)) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(stallLimit, func() { cancel(fmt.Errorf("nothing came for %s", stallLimit)) })
	defer stalled.Stop()
	ctx = outbound.WithBodyLimit(ctx, max(want.size, maxRefusal))
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
		at = 0 // this registry does not support ranges
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

// writerAt writes to a file, starting at an offset.
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

func mib(bytes int64) string { return fmt.Sprintf("%.1f", float64(bytes)/(1<<20)) }
