package share

import (
	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/share/fuse"
)

// once tells whether a request must not be done a second time.
func once(op fuse.Opcode) bool {
	switch op {
	case fuse.Lookup, fuse.SetAttr, fuse.Symlink, fuse.MkNod, fuse.MkDir, fuse.Unlink, fuse.RmDir, fuse.Rename,
		fuse.Rename2, fuse.Link, fuse.Open, fuse.OpenDir, fuse.Create, fuse.Write, fuse.Release, fuse.ReleaseDir,
		fuse.SetXAttr, fuse.RemoveXAttr, fuse.SetLock, fuse.SetLockWait, fuse.Flush, fuse.CopyFileRange, fuse.FAllocate:
		return true
	}
	return false
}

// operations do what messages ask for. One that returns nothing has done it.
var operations = map[fuse.Opcode]func(*Server, *request) (*fuse.Body, error){
	fuse.Lookup:        (*Server).lookup,
	fuse.GetAttr:       (*Server).getAttr,
	fuse.SetAttr:       (*Server).setAttr,
	fuse.ReadLink:      (*Server).readLink,
	fuse.Symlink:       (*Server).symlink,
	fuse.MkNod:         (*Server).mkNod,
	fuse.MkDir:         (*Server).mkDir,
	fuse.Unlink:        (*Server).unlink,
	fuse.RmDir:         (*Server).rmDir,
	fuse.Rename:        (*Server).rename,
	fuse.Rename2:       (*Server).rename,
	fuse.Link:          (*Server).link,
	fuse.Open:          (*Server).open,
	fuse.Create:        (*Server).create,
	fuse.Read:          (*Server).read,
	fuse.Write:         (*Server).writeFile,
	fuse.StatFS:        (*Server).statFS,
	fuse.Release:       (*Server).release,
	fuse.FSync:         (*Server).fsync,
	fuse.SetXAttr:      (*Server).setXAttr,
	fuse.GetXAttr:      (*Server).getXAttr,
	fuse.ListXAttr:     (*Server).listXAttr,
	fuse.RemoveXAttr:   (*Server).removeXAttr,
	fuse.Flush:         (*Server).flush,
	fuse.OpenDir:       (*Server).openDir,
	fuse.ReadDir:       (*Server).readDir,
	fuse.ReleaseDir:    (*Server).release,
	fuse.FSyncDir:      (*Server).fsync,
	fuse.GetLock:       (*Server).getLock,
	fuse.SetLock:       (*Server).setLock,
	fuse.SetLockWait:   (*Server).setLock,
	fuse.FAllocate:     (*Server).fallocate,
	fuse.LSeek:         (*Server).lseek,
	fuse.CopyFileRange: (*Server).copyFileRange,
}

// do does what a message asks for. What is not known is ENOSYS, which a guest's kernel does not ask for again.
func (s *Server) do(r *request) (*fuse.Body, error) {
	if do := operations[r.Opcode]; do != nil {
		return do(s, r)
	}
	return nil, unix.ENOSYS
}
