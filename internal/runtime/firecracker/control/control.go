// Package control is what a host and the first program of its microVM say to each other, over a
// socket of the machine's own (vsock) that nothing else in the guest reaches. The host asks, one
// line of JSON each; every question has an answer.
package control

import "time"

// Port is where the first program listens. HostCID is the host's address there, GuestCID that of
// every guest.
const (
	Port     = 1024
	HostCID  = 2
	GuestCID = 3
)

// Request is one question; exactly one field is set.
type Request struct {
	Start   *Start  `json:"start,omitempty"`
	Resume  *Resume `json:"resume,omitempty"`
	Freeze  *Empty  `json:"freeze,omitempty"`
	Thaw    *Empty  `json:"thaw,omitempty"`
	Sync    *Empty  `json:"sync,omitempty"`
	Largest *Empty  `json:"largest,omitempty"`
	Usage   *Empty  `json:"usage,omitempty"`
	Share   *Share  `json:"share,omitempty"`
}

// SetTime gives a question the time of day, if the guest is told that by it.
func (r *Request) SetTime(now time.Time) {
	switch {
	case r.Start != nil:
		r.Start.Time = now
	case r.Resume != nil:
		r.Resume.Time = now
	}
}

// Empty is a question without details.
type Empty struct{}

// Start begins the guest's first process; it comes once. It is answered when that runs.
type Start struct {
	Args         []string `json:"args"`
	Env          []string `json:"env"`
	MaxProcesses int      `json:"maxProcesses"` // 0 is no bound
	Link         Link     `json:"link"`
	Resume                // what is new at each beginning
}

// Link is the guest's network card.
type Link struct {
	Address string `json:"address"` // with the length of its prefix
	Gateway string `json:"gateway"`
	MAC     string `json:"mac"`
	MTU     int    `json:"mtu"`
}

// Resume is what a guest is told that has come back from a checkpoint.
type Resume struct {
	Hostname string    `json:"hostname"`
	Time     time.Time `json:"time"`
	Entropy  []byte    `json:"entropy"`
	// Shares are the volumes that it has again. All others are errors.
	Shares []string `json:"shares,omitempty"`
	// Environment is the first process's, for who reads envdapi.EnvironmentFile; empty leaves what there is.
	Environment []string `json:"environment,omitempty"`
	// Thaw lets the guest's processes go on afterwards.
	Thaw bool `json:"thaw,omitempty"`
}

// Share shows a volume to the guest, which is mounted if it is not. After the answer, the connection carries
// the messages of FUSE (package share).
type Share struct {
	ID   string `json:"id"`
	Path string `json:"path"`
	// Mounted means that it is an error if the volume is not mounted.
	Mounted bool `json:"mounted,omitempty"`
}

// Answer is the answer to any question. Error is empty if it was carried out.
type Answer struct {
	Error   string `json:"error,omitempty"`
	Largest *Ended `json:"largest,omitempty"`
	Usage   *Usage `json:"usage,omitempty"`
	// Thawed means that a Resume has let the guest's processes go on.
	Thawed bool `json:"thawed,omitempty"`
}

// Ended is a process that was ended for its memory.
type Ended struct {
	PID   int    `json:"pid"`
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Usage is what the guest's disk has on it beside its images, in bytes.
type Usage struct {
	Disk int64 `json:"disk"`
}

// MaxLine bounds a question or an answer, in bytes.
const MaxLine = 1 << 20
