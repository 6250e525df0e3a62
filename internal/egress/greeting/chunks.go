package greeting

import (
	"bytes"
	"strconv"
)

// maxChunkLine bounds a chunk's first line and a line of the trailer, in bytes.
const maxChunkLine = 4 << 10

// Body follows the body of a request, so that it is known where the next one begins.
type Body struct {
	left    int64 // of the body or the chunk; with chunks, -1 between them
	chunked bool
	trailer bool
	done    bool
}

// NewBody is that of a request with the head.
func NewBody(h Head) *Body {
	if h.Body < 0 {
		return &Body{left: -1, chunked: true}
	}
	return &Body{left: h.Body, done: h.Body == 0}
}

// Done tells whether the body has ended.
func (b *Body) Done() bool { return b.done }

// Left is how many bytes of the body, or of a chunk of it, are certain to come next.
func (b *Body) Left() int64 { return max(b.left, 0) }

// Skip is Take of n bytes that need not be looked at. n is at most Left.
func (b *Body) Skip(n int64) {
	b.left -= n
	b.done = b.left == 0 && !b.chunked
}

// Take says how many of the bytes are of the body. ErrMore means that it cannot be told yet of
// those after them, and ErrNone that the body is not as it should be.
func (b *Body) Take(data []byte) (n int, err error) {
	for !b.done && n < len(data) {
		rest := data[n:]
		switch {
		case b.left > 0:
			took := min(b.left, int64(len(rest)))
			b.left -= took
			n += int(took)
			if b.left == 0 && !b.chunked {
				b.done = true
			}
		case b.chunked && b.left == 0: // the line end after a chunk
			if rest[0] != '\r' || len(rest) > 1 && rest[1] != '\n' {
				return n, ErrNone
			}
			if len(rest) < 2 {
				return n, ErrMore
			}
			n += 2
			b.left = -1
		default:
			size, err := b.line(rest)
			if err != nil {
				return n, err
			}
			n += size
		}
	}
	return n, nil
}

// line takes the first line of a chunk, or one of the trailer.
func (b *Body) line(data []byte) (int, error) {
	end := bytes.Index(data, []byte("\r\n"))
	if end < 0 {
		if len(data) > maxChunkLine {
			return 0, ErrNone
		}
		return 0, ErrMore
	}
	line := data[:end]
	if end > maxChunkLine || hasControl(string(line)) {
		return 0, ErrNone
	}
	if b.trailer {
		b.done = end == 0
		return end + 2, nil
	}
	digits, _, _ := bytes.Cut(line, []byte(";"))
	// Without signs, blanks or underscores, which ParseInt or other readers may take.
	if len(digits) == 0 || len(digits) > 15 || len(bytes.Trim(digits, "0123456789abcdefABCDEF")) > 0 {
		return 0, ErrNone
	}
	size, err := strconv.ParseInt(string(digits), 16, 64)
	if err != nil {
		return 0, ErrNone
	}
	if size == 0 {
		b.trailer = true
	} else {
		b.left = size
	}
	return end + 2, nil
}
