package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// AnswerError is an answer that the host does not accept, such as a redirect or one beyond a
// bound. No daemon of ours gives it, so a call is not repeated.
type AnswerError struct {
	What string // "a redirect (status 307)"
}

var _ error = (*AnswerError)(nil)

// Error says what was answered.
func (e *AnswerError) Error() string {
	return "the daemon in the guest gave an answer that is not accepted: " + e.What
}

func refuse(format string, args ...any) error {
	return &AnswerError{What: fmt.Sprintf(format, args...)}
}

// maxText bounds what errors repeat of a guest's words, in bytes.
const maxText = 4 << 10

// shortError is an error whose text was cut.
type shortError struct{ error }

// Error returns the begin of the text.
func (e shortError) Error() string { return short(e.error.Error()) }

// Unwrap returns the whole error.
func (e shortError) Unwrap() error { return e.error }

// shortened bounds the text of an error that may repeat what a guest said, and takes the
// addresses of the host and the guest out of it.
func shortened(err error) error {
	var refused *AnswerError
	var lost *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &lost):
		return fmt.Errorf("%s: %w", lost.Op, lost.Err)
	case len(err.Error()) > maxText:
		return shortError{err}
	}
	return err
}

func short(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + " [cut]"
}

// body is an answer's, held to its bounds. One goroutine uses it.
type body struct {
	io.ReadCloser
	check   func(data []byte) error // what comes next, or an *AnswerError
	keep    bool                    // the connection, if the body ends soon
	refused error
	late    atomic.Bool
	timer   *time.Timer // nil for a stream
}

// bound cuts the body off after some time.
func (b *body) bound(limit time.Duration) {
	inner := b.ReadCloser // may be closed during a Read, which it ends
	b.timer = time.AfterFunc(limit, func() {
		b.late.Store(true)
		_ = inner.Close()
	})
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.refused != nil {
		return 0, b.refused
	}
	n, err := b.ReadCloser.Read(p)
	if b.refused = b.check(p[:n]); b.refused != nil {
		return 0, b.refused
	}
	if err != nil && !errors.Is(err, io.EOF) && b.late.Load() {
		err = refuse("a body that does not end in time")
	}
	return n, shortened(err)
}

// Close implements io.Closer. A connection that is to be kept must have been read to the
// end of the answer.
func (b *body) Close() error {
	if b.timer != nil {
		b.timer.Stop()
	}
	if b.keep && b.refused == nil {
		b.bound(drainTimeout)
		_, _ = io.CopyN(io.Discard, b.ReadCloser, maxDrain)
		b.timer.Stop()
	}
	return b.ReadCloser.Close()
}

// size holds a body to maxAnswer.
type size int

func (s *size) check(data []byte) error {
	if *s += size(len(data)); *s > maxAnswer {
		return refuse("a body of more than %d bytes", maxAnswer)
	}
	return nil
}

// frames holds the messages of a stream to their bounds while they are read. Each begins
// with a byte of flags and its length in four bytes, the most significant first
// (connectrpc.com/docs/protocol, Streaming RPCs). The RPC library has a bound for messages,
// too, but reads one beyond it to its end.
type frames struct {
	prefix   [5]byte
	have     int   // bytes of prefix
	left     int64 // bytes of the message
	messages int
	total    int64 // bytes
}

// The flags of a message; the rest is undefined.
const (
	flagCompressed = 1
	flagLast       = 2
)

func (f *frames) check(data []byte) error {
	if f.total += int64(len(data)); f.total > maxStream {
		return refuse("a stream of more than %d MiB; what prints so much has to write it to a file",
			maxStream>>20)
	}
	for len(data) > 0 {
		if f.left > 0 {
			n := min(f.left, int64(len(data)))
			f.left -= n
			data = data[n:]
			continue
		}
		n := copy(f.prefix[f.have:], data)
		f.have += n
		data = data[n:]
		if f.have < len(f.prefix) {
			return nil
		}
		f.have = 0
		if err := f.begin(); err != nil {
			return err
		}
	}
	return nil
}

// begin looks at the prefix of a message.
func (f *frames) begin() error {
	f.messages++
	f.left = int64(binary.BigEndian.Uint32(f.prefix[1:]))
	switch flags := f.prefix[0]; {
	case flags&flagCompressed != 0:
		return refuse("a compressed message")
	case flags != 0 && flags != flagLast:
		return refuse("a message with flags %#x", flags)
	case f.left > maxMessage:
		return refuse("a message of %d bytes, more than %d", f.left, maxMessage)
	case f.messages > maxMessages:
		return refuse("a stream of more than %d messages", maxMessages)
	}
	return nil
}
