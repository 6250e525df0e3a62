package lisafs

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/context"
)

// Grant asks how many bytes the client may write, at least so many, before it has to ask again.
const Grant MID = 201

// OnGrant answers Grant; nil is no bound. It is set before a server starts.
var OnGrant func(want int64) (int64, error)

// GrantMsg is the request and its answer.
type GrantMsg struct{ Bytes int64 }

// MessagesOfVolumes are what a server of volumes takes besides a gofer's other messages.
func MessagesOfVolumes() []MID {
	if OnGrant == nil {
		return []MID{HostLock}
	}
	return []MID{HostLock, Grant}
}

const grantSize = 8

// MarshalBytes implements marshal.Marshallable.MarshalBytes.
func (m *GrantMsg) MarshalBytes(b []byte) []byte {
	binary.LittleEndian.PutUint64(b, uint64(m.Bytes))
	return b[grantSize:]
}

// CheckedUnmarshal implements marshal.CheckedMarshallable.CheckedUnmarshal.
func (m *GrantMsg) CheckedUnmarshal(b []byte) ([]byte, bool) {
	if len(b) < grantSize {
		return b, false
	}
	m.Bytes = int64(binary.LittleEndian.Uint64(b))
	return b[grantSize:], true
}

// String implements fmt.Stringer.
func (m *GrantMsg) String() string { return fmt.Sprintf("GrantMsg%+v", *m) }

func grantHandler(_ *Connection, comm Communicator, payloadLen uint32) (uint32, error) {
	var msg GrantMsg
	if _, ok := msg.CheckedUnmarshal(comm.PayloadBuf(payloadLen)); !ok || msg.Bytes < 0 || OnGrant == nil {
		return 0, unix.EINVAL
	}
	var err error
	if msg.Bytes, err = OnGrant(msg.Bytes); err != nil {
		return 0, err
	}
	msg.MarshalBytes(comm.PayloadBuf(grantSize))
	return grantSize, nil
}

// Grant makes the Grant RPC.
func (c *Client) Grant(ctx context.Context, want int64) (int64, error) {
	msg := GrantMsg{want}
	ctx.UninterruptibleSleepStart()
	defer ctx.UninterruptibleSleepFinish()
	err := c.SndRcvMessage(Grant, grantSize, msg.MarshalBytes, msg.CheckedUnmarshal, nil, msg.String, msg.String)
	return msg.Bytes, err
}
