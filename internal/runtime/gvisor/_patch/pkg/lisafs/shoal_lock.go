package lisafs

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/context"
)

// HostLock requests a lock of the host's on a file, for all of this connection's client together.
// It never waits.
const HostLock MID = 200

// What a HostLockReq asks for.
const (
	LockFlock uint32 = iota // the whole file, as flock(2)
	LockRange               // as F_OFD_SETLK of fcntl(2)
	TestRange               // as F_OFD_GETLK
)

// HostLockReq is a request for a lock, and the answer to TestRange.
type HostLockReq struct {
	FD     FDID // a control FD
	Kind   uint32
	Type   uint32 // F_RDLCK, F_WRLCK or F_UNLCK
	Start  uint64
	Length uint64 // 0 is up to the end of the file, wherever that is
}

const hostLockSize = 32

// MarshalBytes implements marshal.Marshallable.MarshalBytes.
func (r *HostLockReq) MarshalBytes(b []byte) []byte {
	binary.LittleEndian.PutUint64(b, uint64(r.FD))
	binary.LittleEndian.PutUint32(b[8:], r.Kind)
	binary.LittleEndian.PutUint32(b[12:], r.Type)
	binary.LittleEndian.PutUint64(b[16:], r.Start)
	binary.LittleEndian.PutUint64(b[24:], r.Length)
	return b[hostLockSize:]
}

// CheckedUnmarshal implements marshal.CheckedMarshallable.CheckedUnmarshal.
func (r *HostLockReq) CheckedUnmarshal(b []byte) ([]byte, bool) {
	if len(b) < hostLockSize {
		return b, false
	}
	r.FD = FDID(binary.LittleEndian.Uint64(b))
	r.Kind, r.Type = binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	r.Start, r.Length = binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
	return b[hostLockSize:], true
}

// String implements fmt.Stringer.
func (r *HostLockReq) String() string { return fmt.Sprintf("HostLockReq%+v", *r) }

// HostLocker is a ControlFDImpl that takes locks of the host's. TestRange changes the request to the
// lock that is in the way, if one is, or its type to F_UNLCK.
type HostLocker interface {
	HostLock(req *HostLockReq) error
}

// HandlersOfVolumes are all handlers, with those of HostLock and Grant.
func HandlersOfVolumes() []RPCHandler {
	all := make([]RPCHandler, Grant+1)
	copy(all, handlers[:])
	all[HostLock], all[Grant] = hostLockHandler, grantHandler
	return all
}

func hostLockHandler(c *Connection, comm Communicator, payloadLen uint32) (uint32, error) {
	var req HostLockReq
	if _, ok := req.CheckedUnmarshal(comm.PayloadBuf(payloadLen)); !ok {
		return 0, unix.EIO
	}
	fd, err := c.lookupControlFD(req.FD)
	if err != nil {
		return 0, err
	}
	defer fd.DecRef(nil)
	locker, ok := fd.impl.(HostLocker)
	if !ok {
		return 0, unix.EOPNOTSUPP
	}
	if err := fd.safelyRead(func() error { return locker.HostLock(&req) }); err != nil {
		return 0, err
	}
	req.MarshalBytes(comm.PayloadBuf(hostLockSize))
	return hostLockSize, nil
}

// HostLock makes the HostLock RPC.
func (f *ClientFD) HostLock(ctx context.Context, req *HostLockReq) error {
	req.FD = f.fd
	ctx.UninterruptibleSleepStart()
	defer ctx.UninterruptibleSleepFinish()
	return f.client.SndRcvMessage(HostLock, hostLockSize, req.MarshalBytes, req.CheckedUnmarshal, nil, req.String, req.String)
}
