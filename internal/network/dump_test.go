package network

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestDumpAsksAgain(t *testing.T) {
	asked := 0
	got, err := Dump(func() ([]int, error) {
		if asked++; asked < 3 {
			return []int{1}, netlink.ErrDumpInterrupted
		}
		return []int{1, 2}, nil
	})
	if err != nil || len(got) != 2 || asked != 3 {
		t.Errorf("got %v, %v after %d", got, err, asked)
	}
	broken := errors.New("broken")
	if _, err := Dump(func() ([]int, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
