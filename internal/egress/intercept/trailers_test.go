package intercept

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// script writes frames as a client does.
type script struct {
	bytes.Buffer
	frames  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
}

func newScript() *script {
	s := &script{}
	s.WriteString(http2.ClientPreface)
	s.frames = http2.NewFramer(s, nil)
	s.encoder = hpack.NewEncoder(&s.block)
	return s
}

func (s *script) head(stream uint32, ended bool, fields ...string) *script {
	s.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = s.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	half := s.block.Len() / 2
	_ = s.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, EndStream: ended, PadLength: 7,
		BlockFragment: s.block.Next(half), Priority: http2.PriorityParam{StreamDep: 0, Weight: 3}})
	_ = s.frames.WriteContinuation(stream, true, s.block.Bytes())
	return s
}

func (s *script) data(stream uint32, ended bool, text string) *script {
	_ = s.frames.WriteData(stream, ended, []byte(text))
	return s
}

// shown are the frames that somebody reads, until there is an error; change is made to each head.
func shown(r io.Reader, change func(fields []hpack.HeaderField, ended bool) []hpack.HeaderField) (list []string) {
	frames := http2.NewFramer(io.Discard, r)
	frames.ReadMetaHeaders = hpack.NewDecoder(headerTable, nil)
	frames.SetMaxReadFrameSize(1<<24 - 1)
	frames.MaxHeaderListSize = 1 << 30
	for {
		f, err := frames.ReadFrame()
		if err != nil {
			return list
		}
		var text strings.Builder
		text.WriteString(f.Header().Type.String())
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range change(slices.Clone(f.Fields), f.StreamEnded()) {
				text.WriteString(" " + field.Name + "=" + field.Value)
			}
			if f.StreamEnded() {
				text.WriteString(" ended")
			}
		case *http2.DataFrame:
			text.Write(f.Data())
		default:
		}
		list = append(list, text.String())
	}
}

// FuzzTrailerConn: what is read by way of it are the frames that were sent, with the carrier.
func FuzzTrailerConn(f *testing.F) {
	whole := newScript().head(1, false, ":method", "POST", ":path", "/", "x-a", "b").data(1, false, "body").
		head(1, true, "x-sum", "s").head(3, true, ":method", "GET", ":path", "/x", "x-a", "b")
	f.Add(whole.Bytes())
	f.Add(newScript().head(1, true, "X-Upper", "s").Bytes())
	f.Add([]byte(http2.ClientPreface + "\x00\x00\x02\x01\x0c\x00\x00\x00\x01\xff\x00"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		if !bytes.HasPrefix(sent, []byte(http2.ClientPreface)) {
			return
		}
		c := newTrailerConn(nil, bytes.NewReader(sent))
		got, _ := io.ReadAll(c)
		if !bytes.HasPrefix(got, []byte(http2.ClientPreface)) {
			t.Fatalf("the preface is %q", got[:min(len(got), 24)])
		}
		want := shown(bytes.NewReader(sent[24:]), carried)
		have := shown(bytes.NewReader(got[24:]), func(fields []hpack.HeaderField, _ bool) []hpack.HeaderField { return fields })
		if n := min(len(want), len(have)); !slices.Equal(want[:n], have[:n]) {
			t.Errorf("%q\nwant %q", have, want)
		}
	})
}

// TestTrailersAreCarried: all trailers of a request come by the carrier, and the streams of others
// are left alone.
func TestTrailersAreCarried(t *testing.T) {
	s := newScript().head(1, false, ":method", "POST", "trailer", "x-sum").data(1, false, "body").
		head(1, true, "x-sum", "s", "x-late", "l", "content-length", "5", strings.ToLower(carrier), "mine").
		head(3, true, ":method", "GET").data(3, true, "")
	conn := newTrailerConn(nil, bytes.NewReader(s.Bytes()))
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		t.Fatal(err)
	}
	frames := http2.NewFramer(io.Discard, conn)
	frames.ReadMetaHeaders = hpack.NewDecoder(headerTable, nil)
	var heads []*http2.MetaHeadersFrame
	for {
		f, err := frames.ReadFrame()
		if err != nil {
			break
		}
		if h, ok := f.(*http2.MetaHeadersFrame); ok {
			h.Fields = slices.Clone(h.Fields)
			heads = append(heads, h)
		}
	}
	if len(heads) != 3 || len(heads[0].Fields) != 3 || heads[0].Fields[2].Value != carrier || len(heads[2].Fields) != 1 {
		t.Fatalf("%+v", heads)
	}
	trailers := heads[1].Fields
	if len(trailers) != 1 || trailers[0].Name != strings.ToLower(carrier) {
		t.Fatalf("%+v", trailers)
	}
	got := uncarried([]string{trailers[0].Value})
	if len(got) != 2 || got.Get("X-Sum") != "s" || got.Get("X-Late") != "l" {
		t.Errorf("%v", got)
	}
}
