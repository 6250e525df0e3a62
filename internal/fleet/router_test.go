package fleet

import (
	"errors"
	"testing"

	"shoal/internal/fleet/fleettest"
	"shoal/internal/proxy"
)

// TestRouterAsksForAdmission: whose the sandbox is decides whether a request goes on.
func TestRouterAsksForAdmission(t *testing.T) {
	f := newFleet(t, fleettest.New("n1", build))
	sb, err := f.Place(t.Context(), spec("t1"), atOnce(10))
	if err != nil {
		t.Fatal(err)
	}
	router, err := NewRouter(f, []string{"http://10.0.0.1:5008"}, "5007")
	if err != nil {
		t.Fatal(err)
	}
	request := proxy.Request{SandboxID: sb.SandboxID}
	if target, err := router.Resolve(t.Context(), request); err != nil || target.Node != "10.0.0.1:5007" {
		t.Errorf("%+v, %v", target, err)
	}
	full := errors.New("full")
	request.Admission = func(teamID string) error {
		if teamID == "t1" {
			return full
		}
		return nil
	}
	if _, err := router.Resolve(t.Context(), request); !errors.Is(err, full) {
		t.Errorf("a team that is not admitted: %v", err)
	}
}
