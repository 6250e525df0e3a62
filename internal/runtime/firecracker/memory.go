package firecracker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"shoal/internal/runtime/firecracker/api"
	"shoal/internal/runtime/firecracker/attendant"
	"shoal/internal/runtime/firecracker/page"
)

// offerMemory has Firecracker find the memory of a checkpoint: as a file, if it can map that as it is; else on a socket
// of the guest's attendant, which gives it page by page, or as a copy.
func (g *guest) offerMemory(ctx context.Context, kept string) (api.Backend, error) {
	known := g.jail.beside(knownMemory)
	if err := linkMemory(kept, known); err != nil {
		return api.Backend{}, err
	}
	path, whole, err := page.MappedFile(known)
	if err != nil {
		return api.Backend{}, err
	}
	if whole {
		return api.Backend{Type: "File", Path: "/" + memoryFile}, place(path, g.jail.path(memoryFile))
	}
	if g.jail.Backend == "" || !g.driver.served {
		return api.Backend{Type: "File", Path: "/" + memoryFile}, flatten(known, g.jail.path(memoryFile))
	}
	if err := g.driver.needs().place(known); err != nil {
		return api.Backend{}, err
	}
	g.jail.Served = true
	if err := g.driver.record(g.jail); err != nil {
		return api.Backend{}, err
	}
	_, err = g.attendant().Ask(ctx, attendant.Request{Memory: &attendant.Memory{Dir: known,
		Socket: g.jail.path(memorySocket), UID: g.jail.UID}})
	return api.Backend{Type: "Uffd", Path: "/" + memorySocket}, err
}

// linkMemory gives the files of a memory other names in a directory of its own, which is made anew.
func linkMemory(from, to string) error {
	names, err := page.Files(from)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	for _, name := range names {
		if err := place(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}

// flatten writes a memory to a file, with holes where it is zero, for anybody to read.
func flatten(dir, to string) (err error) {
	m, err := page.Open(dir)
	if err != nil {
		return err
	}
	defer m.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	const copySize = 1 << 20 // bytes
	size := int64(m.Pages()) * page.Size
	if err := f.Truncate(size); err != nil {
		return err
	}
	buffer := make([]byte, copySize)
	zeros := make([]byte, copySize)
	for at := int64(0); at < size; at += copySize {
		part := buffer[:min(copySize, size-at)]
		if _, err := m.ReadAt(part, at); err != nil {
			return err
		}
		if err := eachChange(at, part, zeros[:len(part)], f); err != nil {
			return err
		}
	}
	return nil
}

// eachChange writes the pages of now that are different from then.
func eachChange(at int64, now, then []byte, to io.WriterAt) error {
	for k := 0; k < len(now); k += page.Size {
		part := now[k:min(k+page.Size, len(now))]
		if bytes.Equal(part, then[k:k+len(part)]) {
			continue
		}
		if _, err := to.WriteAt(part, at+int64(k)); err != nil {
			return err
		}
	}
	return nil
}
