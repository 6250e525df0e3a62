package main

import (
	"time"

	"github.com/prometheus/procfs"
)

// busy is the time that the host's processors have worked, all together, whoever for. What is done
// meanwhile by nobody else than Shoal, its guests and this program cannot take less than that time
// divided by the number of processors.
func busy() (time.Duration, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	stat, err := fs.Stat()
	c := stat.CPUTotal
	return time.Duration((c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ) * float64(time.Second)), err
}

// worked adds what the processors worked while something was done, divided by n.
func (t *times) worked(n int, do func() error) error {
	before, err := busy()
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	after, err := busy()
	*t = append(*t, (after-before)/time.Duration(n))
	return err
}
