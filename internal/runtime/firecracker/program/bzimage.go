package program

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"shoal/internal/shoal"
)

// maxKernel bounds an uncompressed kernel, in bytes.
const maxKernel = 512 << 20

// uncompressed returns the path of the kernel itself: the file, or what is packed in it, which is
// written to dir. Firecracker's releases load nothing packed.
func uncompressed(ctx context.Context, path, dir string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", shoal.ErrFirecrackerKernelFormat.Wrap(err, "%s cannot be read", path)
	}
	payload, err := bzPayload(data)
	if errors.Is(err, errNotPacked) {
		return path, nil // and what it is, is looked at later
	}
	if err != nil {
		return "", shoal.ErrFirecrackerKernelCut.Wrap(err, "%s is a packed kernel's beginning and not all of it", path)
	}
	kernel, err := unpack(ctx, payload)
	if err != nil {
		return "", shoal.ErrFirecrackerKernelPacked.Wrap(err, "the kernel in %s cannot be taken out", path)
	}
	to := filepath.Join(dir, kernelFile)
	return to, os.WriteFile(to, kernel, 0o600)
}

// The header of a bzImage, by Linux's description of the x86 boot protocol.
const (
	bzMagicAt   = 0x202
	bzSetupAt   = 0x1f1 // sectors of the setup code, without the first
	bzPayloadAt = 0x248 // offset of the payload, from the end of the setup code
	bzLengthAt  = 0x24c
	bzSector    = 512
	bzHeader    = 0x250
)

// bzPayload finds the packed kernel in a bzImage.
func bzPayload(data []byte) ([]byte, error) {
	if len(data) < bzHeader || string(data[bzMagicAt:bzMagicAt+4]) != "HdrS" {
		return nil, errNotPacked
	}
	setup := int64(data[bzSetupAt])
	if setup == 0 {
		setup = 4
	}
	from := (setup+1)*bzSector + int64(binary.LittleEndian.Uint32(data[bzPayloadAt:]))
	length := int64(binary.LittleEndian.Uint32(data[bzLengthAt:]))
	if length < 8 || from+length > int64(len(data)) {
		return nil, fmt.Errorf("its content is to end at %d, and the file ends at %d", from+length, len(data))
	}
	return data[from : from+length-4], nil // the last four bytes are the size
}

// unpack unpacks what a kernel's build may have packed.
func unpack(ctx context.Context, data []byte) ([]byte, error) {
	for _, p := range packings {
		if !bytes.HasPrefix(data, []byte(p.begin)) {
			continue
		}
		switch p.name {
		case "lz4":
			return unpackLZ4(data[4:])
		case "gzip":
			r, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				return nil, err
			}
			r.Multistream(false)
			return io.ReadAll(io.LimitReader(r, maxKernel))
		case "xz", "zstd", "bzip2":
			return unpackBy(ctx, p.name, data)
		}
	}
	return nil, fmt.Errorf("it is packed in an unknown way, beginning with % x", data[:min(6, len(data))])
}

// unpackBy asks a program of the host. What follows the packed data makes it complain, and is no
// fault.
func unpackBy(ctx context.Context, program string, data []byte) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, "-dcq")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("it is packed by %s, which this machine lacks; install the package that has the program %s",
			program, program)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s cannot unpack it: %w", program, err)
	}
	return out, nil
}

// unpackLZ4 unpacks the blocks of LZ4's legacy frame, which kernels are packed by.
func unpackLZ4(data []byte) ([]byte, error) {
	var out []byte
	for len(data) >= 4 {
		size := int64(binary.LittleEndian.Uint32(data))
		data = data[4:]
		if size == 0 {
			break
		}
		if size > int64(len(data)) {
			return nil, errors.New("a block is cut off")
		}
		var err error
		if out, err = lz4Block(out, data[:size]); err != nil {
			return nil, err
		}
		if len(out) > maxKernel {
			return nil, errors.New("it is larger than a kernel is")
		}
		data = data[size:]
	}
	return out, nil
}

// maxLZ4Block is what a block of the legacy frame unpacks to at most.
const maxLZ4Block = 8 << 20

var errLZ4 = errors.New("a block is damaged")

// lz4Block appends what a block unpacks to. Matches do not reach before the block.
func lz4Block(out, in []byte) ([]byte, error) {
	begin := len(out)
	length := func(n int) (int, bool) {
		if n < 15 {
			return n, true
		}
		for {
			if len(in) == 0 || n > maxLZ4Block {
				return 0, false
			}
			b := in[0]
			in = in[1:]
			n += int(b)
			if b != 255 {
				return n, true
			}
		}
	}
	for len(in) > 0 {
		token := in[0]
		in = in[1:]
		literals, ok := length(int(token >> 4))
		if !ok || literals > len(in) {
			return nil, errLZ4
		}
		out = append(out, in[:literals]...)
		in = in[literals:]
		if len(in) == 0 {
			break
		}
		if len(in) < 2 {
			return nil, errLZ4
		}
		back := int(binary.LittleEndian.Uint16(in))
		in = in[2:]
		match, ok := length(int(token & 15))
		match += 4
		if !ok || back == 0 || back > len(out)-begin || len(out)-begin+match > maxLZ4Block {
			return nil, errLZ4
		}
		for range match {
			out = append(out, out[len(out)-back])
		}
	}
	if len(out)-begin > maxLZ4Block {
		return nil, errLZ4
	}
	return out, nil
}
