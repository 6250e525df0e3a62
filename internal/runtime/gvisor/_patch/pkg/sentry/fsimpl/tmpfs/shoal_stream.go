// This file is added to package tmpfs when the sandbox kernel is built (scripts/gvisor).
// With stream.patch, a writable layer is written to and read from a tar piece by piece.
// Otherwise a whole file (and when reading a tar, all files together) would have to fit
// into the guest's memory; a guest without that much would be killed.
package tmpfs

import (
	"archive/tar"
	"fmt"
	"io"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/sentry/kernel/auth"
	"gvisor.dev/gvisor/pkg/usermem"
)

// streamStep is how much of a file is in memory at a time, in bytes.
const streamStep = 1 << 20

// streamedOut writes regular files to a tar, one piece at a time.
type streamedOut struct{ tarDefaultWriterCallbacks }

var _ tarWriterCallbacks = streamedOut{}

func (streamedOut) regularFileWrite(ctx context.Context, rf *regularFile, tw *tar.Writer) error {
	rf.inode.mu.Lock()
	defer rf.inode.mu.Unlock()
	rw := getRegularFileReadWriter(rf, 0, 0)
	defer putRegularFileReadWriter(rw)
	left := rf.size.RacyLoad()
	for piece := make([]byte, min(left, streamStep)); left > 0; {
		piece = piece[:min(left, streamStep)]
		n, err := usermem.BytesIOSequence(piece).CopyOutFrom(ctx, rw)
		if err != nil && err != io.EOF {
			return fmt.Errorf("failed to read file content: %w", err)
		}
		if n != int64(len(piece)) {
			return fmt.Errorf("failed to read all file content, %d bytes are missing", left-uint64(n))
		}
		if _, err := tw.Write(piece); err != nil {
			return fmt.Errorf("failed to write file content to tar: %w", err)
		}
		left -= uint64(n)
	}
	return nil
}

// streamedIn creates the tar's regular files while it reads them, before the directories
// that contain them.
type streamedIn struct {
	fs   *filesystem
	made map[*tar.Header]*inode
}

var _ tarReaderCallbacks = (*streamedIn)(nil)

func (s *streamedIn) regularFileRead(ctx context.Context, hdr *tar.Header, tr *tar.Reader) error {
	made, err := s.fs.newRegularFile(auth.KUID(hdr.Uid), auth.KGID(hdr.Gid), linux.FileMode(hdr.Mode),
		nil /* parentDir */)
	if err != nil {
		return err
	}
	s.made[hdr] = made
	made.mu.Lock()
	defer made.mu.Unlock()
	rw := getRegularFileReadWriter(made.impl.(*regularFile), 0, 0)
	defer putRegularFileReadWriter(rw)
	left := hdr.Size
	for piece := make([]byte, min(left, streamStep)); left > 0; {
		piece = piece[:min(left, streamStep)]
		if _, err := io.ReadFull(tr, piece); err != nil {
			return fmt.Errorf("failed to read file content: %w", err)
		}
		n, err := usermem.BytesIOSequence(piece).CopyInTo(ctx, rw)
		if err != nil {
			return fmt.Errorf("failed to write file content: %w", err)
		}
		if n != int64(len(piece)) {
			return fmt.Errorf("failed to write all file content to %v, %d bytes are missing", hdr.Name,
				left-n)
		}
		left -= n
	}
	return nil
}

// regularFileSetContents does nothing: regularFileRead has already written the contents.
func (s *streamedIn) regularFileSetContents(context.Context, *tar.Header, *regularFile) error {
	return nil
}

// regularFromTar returns the regular file that belongs to a tar header.
func (fs *filesystem) regularFromTar(hdr *tar.Header, cb tarReaderCallbacks) (*inode, error) {
	if s, ok := cb.(*streamedIn); ok {
		return s.made[hdr], nil
	}
	return fs.newRegularFile(auth.KUID(hdr.Uid), auth.KGID(hdr.Gid), linux.FileMode(hdr.Mode),
		nil /* parentDir */)
}
