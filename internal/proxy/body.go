package proxy

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"shoal/internal/splice"
)

// replayed is how many bytes of a request's body are kept until an answer comes, so that the
// request can be sent to another machine.
const replayed = 64 << 10

// body is a client's request body that can be sent again while little of it was read. It
// remembers whether the client broke it off or sent what is no HTTP, which is then not blamed
// on the guest.
type body struct {
	failed atomic.Bool

	reading sync.Mutex // guards source and client, and is taken before mu
	source  io.Reader
	client  *splice.Conn // where it comes from, if the host's kernel may move it from there; else nil

	mu      sync.Mutex // guards the rest
	kept    []byte     // what was read
	lost    bool       // something was read and is not in kept
	end     error      // of the source
	current *bodyReader
	// settled means that an answer came, so that the body is not sent again.
	settled bool
}

func newBody(source io.Reader) *body { return &body{source: source} }

// again returns the body from its beginning. The reader of an earlier attempt, which may still
// wait for the client, reads no more after that; what it got is the new one's too.
func (b *body) again() io.ReadCloser {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.current = &bodyReader{body: b}
	return b.current
}

// settle means that the body need not be sent again.
func (b *body) settle() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settled = true
}

// comesFrom is the client's connection, if the host's kernel may move the body from there; else nil.
func (b *body) comesFrom() *splice.Conn {
	b.reading.Lock()
	defer b.reading.Unlock()
	return b.client
}

// letGo waits for the read that is under way, after which nothing more is moved from the client's connection:
// what comes then is of another request.
func (b *body) letGo() {
	b.reading.Lock()
	defer b.reading.Unlock()
	b.client = nil
}

// isWhole reports whether the body can be sent again.
func (b *body) isWhole() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.lost
}

func (b *body) hasFailed() bool { return b.failed.Load() }

// bodyReader is one attempt's.
type bodyReader struct {
	*body
	offset int
}

var _ io.ReadCloser = (*bodyReader)(nil)

// Close does nothing: the source is the server's.
func (r *bodyReader) Close() error { return nil }

// Read implements io.Reader.
func (r *bodyReader) Read(p []byte) (int, error) {
	n, _, err := r.read(p, nil)
	return n, err
}

// read reads to p, or has the host's kernel move what it reads to the sink, if there is one and nothing of
// the body is kept any more.
func (r *bodyReader) read(p []byte, to *splice.Sink) (n int, moved bool, err error) {
	if n, err := r.readKept(p); n > 0 || err != nil {
		return n, false, err
	}
	r.reading.Lock()
	defer r.reading.Unlock()
	// An earlier attempt may have read meanwhile.
	if n, err := r.readKept(p); n > 0 || err != nil {
		return n, false, err
	}
	if to != nil && r.client != nil && !r.isWhole() {
		n, moved, err = r.client.Through(r.source, p, to)
	} else {
		n, err = r.source.Read(p)
	}
	if err != nil && !errors.Is(err, io.EOF) && (to == nil || to.Err() == nil) {
		r.failed.Store(true)
	}
	r.keep(p[:n], moved, err)
	return n, moved, err
}

// readKept reads what is kept. At the end of that it returns 0, and an error if there is no
// more.
func (r *bodyReader) readKept(p []byte) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.current != r:
		return 0, io.ErrClosedPipe
	case r.offset < len(r.kept):
		n = copy(p, r.kept[r.offset:])
		r.offset += n
		return n, nil
	default:
		return 0, r.end
	}
}

// keep notes what was read of the source, and is not in p if it was moved.
func (r *bodyReader) keep(p []byte, moved bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end = err
	r.offset += len(p)
	tooMuch := r.settled || len(r.kept)+len(p) > replayed
	switch {
	case len(p) == 0:
	case moved, r.current == r && (r.lost || tooMuch):
		r.lost, r.kept = true, nil
	default:
		r.kept = append(r.kept, p...)
	}
}
