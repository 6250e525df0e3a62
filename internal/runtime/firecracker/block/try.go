package block

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// tryTime bounds a try, beside other work of the host.
const tryTime = time.Minute

// Try attaches a small disk and detaches it: nil, or an UnavailableError if the kernel cannot, because the
// module is missing or has no device left.
func (k *Kernel) Try(ctx context.Context) error {
	if err := k.Check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	a, err := NewAttachment(k, blank(Size), fmt.Sprintf("shoal-try:%d", os.Getpid()), nil)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- a.Run(ctx) }() // ends with the device, which is awaited below
	if _, err = a.Device(ctx); err == nil {
		err = a.Detach(ctx)
	}
	if err != nil {
		cancel()
		return errors.Join(err, <-served)
	}
	return <-served
}

// blank is a disk of so many bytes that are zero and stay so.
type blank int64

var _ Device = blank(0)

var errBlank = errors.New("the disk cannot be written to")

func (b blank) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }
func (b blank) WriteAt([]byte, int64) (int, error)    { return 0, errBlank }
func (b blank) Flush() error                          { return nil }
func (b blank) Trim(int64, int64) error               { return nil }
func (b blank) WriteZeroes(int64, int64, bool) error  { return nil }
func (b blank) Size() int64                           { return int64(b) }
