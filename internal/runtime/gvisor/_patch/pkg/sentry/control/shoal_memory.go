package control

// EndedProcess is what was ended for its memory.
type EndedProcess struct {
	// PID is the process's ID in the guest; 0 if nothing was ended.
	PID int32
	// Name is that of its executable, cut as Linux cuts it.
	Name string
	// Bytes is what was resident of it.
	Bytes int64
}

// EndLargest ends the process of the guest that uses most memory, for a host that has none
// left.
func (u *Usage) EndLargest(_ *struct{}, ended *EndedProcess) error {
	pid, name, bytes := u.Kernel.EndLargest()
	*ended = EndedProcess{PID: int32(pid), Name: name, Bytes: bytes}
	return nil
}
