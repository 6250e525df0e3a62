package intercept

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// The server of net/http drops trailers of HTTP/2 requests that their heads have not announced,
// which few clients do. So what a guest sends is read on its way to that server: every head with a
// body announces one trailer more, the carrier, and all trailers of a request come as its value.
// Frames that have no headers go through as they are.

// carrier is the trailer in which all others are, between the guest and the server.
const carrier = "X-Shoal-Trailers"

const (
	frameHead = 9 // bytes
	// headerTable is the size of the tables that both sides begin with (RFC 9113, section 6.5.2).
	headerTable = 4096
	// maxContinuations bounds the frames of one head.
	maxContinuations = 256
	// maxFrame is how much of a head one frame has that is written anew, in bytes.
	maxFrame = 16 << 10
)

// errHead is of a head that is none, or beyond the bounds. It ends the connection.
var errHead = errors.New("a head of HTTP/2 cannot be read")

// trailerConn is a guest's HTTP/2 connection whose trailers all come by the carrier. One goroutine
// reads it. The server must not see that TLS is below, or it would speak HTTP/1.1.
type trailerConn struct {
	net.Conn
	from io.Reader

	pass    int          // how much of what comes next goes through
	anew    bytes.Buffer // frames that were written anew
	frames  *http2.Framer
	decoder *hpack.Decoder
	encoder *hpack.Encoder
	block   bytes.Buffer // of the encoder

	fields []hpack.HeaderField // of the head that is being decoded
	size   uint32
}

func newTrailerConn(guest net.Conn, from io.Reader) *trailerConn {
	c := &trailerConn{Conn: guest, from: from, pass: len(http2.ClientPreface)}
	c.frames = http2.NewFramer(&c.anew, nil)
	c.encoder = hpack.NewEncoder(&c.block)
	c.decoder = hpack.NewDecoder(headerTable, func(f hpack.HeaderField) {
		if c.size += f.Size(); c.size <= 2*maxHead {
			c.fields = append(c.fields, f)
		}
	})
	c.decoder.SetMaxStringLength(maxHead)
	return c
}

// Read implements net.Conn.
func (c *trailerConn) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if c.anew.Len() > 0 {
			return c.anew.Read(p)
		}
		if c.pass > 0 {
			n, err := c.from.Read(p[:min(len(p), c.pass)])
			c.pass -= n
			return n, err
		}
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// frame is the head of one.
type frame struct {
	length int
	kind   http2.FrameType
	flags  http2.Flags
	stream uint32
}

func (c *trailerConn) frameHead() (f frame, head [frameHead]byte, err error) {
	if _, err = io.ReadFull(c.from, head[:]); err != nil {
		return f, head, err
	}
	return frame{length: int(head[0])<<16 | int(head[1])<<8 | int(head[2]), kind: http2.FrameType(head[3]),
		flags: http2.Flags(head[4]), stream: binary.BigEndian.Uint32(head[5:]) & (1<<31 - 1)}, head, nil
}

// next reads the next frame as far as it must be written anew.
func (c *trailerConn) next() error {
	f, head, err := c.frameHead()
	if err != nil {
		return err
	}
	if f.kind != http2.FrameHeaders {
		c.anew.Write(head[:])
		c.pass = f.length
		return nil
	}
	block, priority, err := c.readHead(f)
	if err != nil {
		return err
	}
	c.fields, c.size = c.fields[:0], 0
	if _, err := c.decoder.Write(block); err != nil {
		return errors.Join(errHead, err)
	}
	if err := c.decoder.Close(); err != nil || c.size > 2*maxHead {
		return errors.Join(errHead, err)
	}
	return c.write(f, priority, carried(c.fields, f.flags.Has(http2.FlagHeadersEndStream)))
}

// readHead reads a head, which may be of several frames, without what pads it.
func (c *trailerConn) readHead(f frame) (block []byte, priority http2.PriorityParam, err error) {
	if block, err = c.read(nil, f.length); err != nil {
		return nil, priority, err
	}
	if f.flags.Has(http2.FlagHeadersPadded) {
		if len(block) == 0 || len(block)-1 < int(block[0]) {
			return nil, priority, errHead
		}
		block = block[1 : len(block)-int(block[0])]
	}
	if f.flags.Has(http2.FlagHeadersPriority) {
		if len(block) < 5 {
			return nil, priority, errHead
		}
		on := binary.BigEndian.Uint32(block)
		priority = http2.PriorityParam{StreamDep: on & (1<<31 - 1), Exclusive: on>>31 == 1, Weight: block[4]}
		block = block[5:]
	}
	for n, more := 0, f; !more.flags.Has(http2.FlagHeadersEndHeaders); n++ { // continuations have the same flag
		if more, _, err = c.frameHead(); err != nil {
			return nil, priority, err
		}
		if more.kind != http2.FrameContinuation || more.stream != f.stream || n == maxContinuations {
			return nil, priority, errHead
		}
		if block, err = c.read(block, more.length); err != nil {
			return nil, priority, err
		}
	}
	return block, priority, nil
}

// read adds to what there is of a head.
func (c *trailerConn) read(have []byte, n int) ([]byte, error) {
	if len(have)+n > maxHead {
		return nil, errHead
	}
	all := slices.Grow(have, n)[:len(have)+n]
	_, err := io.ReadFull(c.from, all[len(have):])
	return all, err
}

// write writes a head anew.
func (c *trailerConn) write(f frame, priority http2.PriorityParam, fields []hpack.HeaderField) error {
	c.block.Reset()
	for _, field := range fields {
		if err := c.encoder.WriteField(field); err != nil {
			return err
		}
	}
	part := c.block.Next(maxFrame)
	err := c.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: f.stream, BlockFragment: part, Priority: priority,
		EndStream: f.flags.Has(http2.FlagHeadersEndStream), EndHeaders: c.block.Len() == 0})
	for err == nil && c.block.Len() > 0 {
		part = c.block.Next(maxFrame)
		err = c.frames.WriteContinuation(f.stream, c.block.Len() == 0, part)
	}
	return err
}

// carried announces the carrier in a head that is not the end of its stream, and puts trailers into
// it. What the server would not take stays as it is.
func carried(fields []hpack.HeaderField, ended bool) []hpack.HeaderField {
	switch {
	case slices.ContainsFunc(fields, hpack.HeaderField.IsPseudo):
		if !ended {
			fields = append(fields, hpack.HeaderField{Name: "trailer", Value: carrier})
		}
		return fields
	case !ended || slices.ContainsFunc(fields, refused):
		return fields
	}
	list := make([][2]string, len(fields))
	for i, f := range fields {
		list[i] = [2]string{f.Name, f.Value}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return fields
	}
	return []hpack.HeaderField{{Name: strings.ToLower(carrier), Value: base64.RawURLEncoding.EncodeToString(text)}}
}

func refused(f hpack.HeaderField) bool {
	return strings.ToLower(f.Name) != f.Name || !httpguts.ValidHeaderFieldName(f.Name) || !httpguts.ValidHeaderFieldValue(f.Value)
}

// uncarried are the trailers in a carrier.
func uncarried(values []string) http.Header {
	all := http.Header{}
	for _, v := range values {
		text, err := base64.RawURLEncoding.DecodeString(v)
		var list [][2]string
		if err != nil || json.Unmarshal(text, &list) != nil {
			continue
		}
		for _, f := range list {
			name := textproto.CanonicalMIMEHeaderKey(f[0])
			if name != carrier && httpguts.ValidTrailerHeader(name) {
				all[name] = append(all[name], f[1])
			}
		}
	}
	return all
}
