package fuse

import "encoding/binary"

// What both sides of a connection can do: flags of an Init message.
const (
	asyncRead         = 1 << 0
	posixLocks        = 1 << 1
	atomicTruncate    = 1 << 3
	bigWrites         = 1 << 5
	flockLocks        = 1 << 10
	parallelDirectory = 1 << 18
	maxPages          = 1 << 22
	more              = 1 << 30 // there are flags above the 32nd

	directMapping = 1 << (36 - 32) // files of direct I/O can be mapped shared, since Linux 6.6
)

// Versions of the protocol.
const (
	major    = 7
	minor    = 31 // what is spoken; Linux has it since 5.4
	initSize = 64 // of the reply's body
)

// AnswerInit makes the reply to an Init message. What is agreed on is the same for all volumes, and so it need
// not be kept.
func AnswerInit(message []byte) ([]byte, error) {
	h, err := ParseHeader(message)
	if err != nil {
		return nil, err
	}
	body := message[HeaderSize:]
	if len(body) < 16 {
		return nil, ErrMalformed
	}
	le := binary.LittleEndian
	theirs, ahead, offered := le.Uint32(body[4:]), le.Uint32(body[8:]), le.Uint32(body[12:])
	if le.Uint32(body) != major || theirs < minor {
		return nil, ErrMalformed
	}
	speaks := uint32(minor)
	var offeredMore, wantMore uint32
	if offered&more != 0 && len(body) >= 20 {
		speaks, offeredMore = 36, le.Uint32(body[16:]) // with which there are more flags
		wantMore = directMapping
	}
	want := uint32(asyncRead | posixLocks | atomicTruncate | bigWrites | flockLocks | parallelDirectory | maxPages)
	if wantMore&offeredMore != 0 {
		want |= more
	}
	reply := make([]byte, ReplyHeaderSize+initSize)
	b := reply[ReplyHeaderSize:]
	le.PutUint32(b, major)
	le.PutUint32(b[4:], min(speaks, theirs))
	le.PutUint32(b[8:], ahead)
	le.PutUint32(b[12:], want&offered)
	le.PutUint16(b[16:], 64) // most requests in the background
	le.PutUint16(b[18:], 48) // from which on those wait
	le.PutUint32(b[20:], MaxWrite)
	le.PutUint32(b[24:], 1) // times are exact to a nanosecond
	le.PutUint16(b[28:], MaxPages)
	le.PutUint32(b[32:], wantMore&offeredMore)
	FinishReply(reply, h.Unique, 0)
	return reply, nil
}
