package orchestrator

import (
	"os"
	"path/filepath"
	"testing"

	"shoal/internal/proxy"
	"shoal/internal/shoal"
)

// TestSwitches: what a machine is told of a switch counts at once, and after a restart.
func TestSwitches(t *testing.T) {
	path := filepath.Join(t.TempDir(), "switches.json")
	wants := func(s *switches, off, on string) {
		t.Helper()
		if !s.offFor(shoal.SwitchSignedURLs, off) || s.offFor(shoal.SwitchSignedURLs, on) {
			t.Errorf("it is not off for %s, or off for %s", off, on)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s := newSwitches(path)
	must(s.load()) // there is nothing
	if s.offFor(shoal.SwitchSignedURLs, "a") {
		t.Error("it is off before anybody has said so")
	}
	must(s.Switch(t.Context(), shoal.SwitchSignedURLs, shoal.Standing{Others: []string{"a"}}))
	wants(s, "a", "b")
	if s.offFor(shoal.SwitchForks, "a") {
		t.Error("another feature is off")
	}
	must(s.Switch(t.Context(), shoal.SwitchSignedURLs, shoal.Standing{Off: true, Others: []string{"a"}}))
	wants(s, "b", "a")

	s = newSwitches(path)
	must(s.load())
	wants(s, "b", "a")

	// The same is not written again, but what could not be kept is.
	must(os.Remove(path))
	must(s.Switch(t.Context(), shoal.SwitchSignedURLs, shoal.Standing{Off: true, Others: []string{"a"}}))
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the same is written once more: %v", err)
	}
	must(os.Mkdir(path, 0o700))
	on := shoal.Standing{}
	if s.Switch(t.Context(), shoal.SwitchSignedURLs, on) == nil || s.offFor(shoal.SwitchSignedURLs, "b") {
		t.Error("what cannot be kept does not count, or is no error")
	}
	if s.load() == nil {
		t.Error("a directory is no error")
	}
	must(os.Remove(path))
	must(s.Switch(t.Context(), shoal.SwitchSignedURLs, on))
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	must(os.WriteFile(path, []byte("{"), 0o600))
	if s.load() == nil {
		t.Error("half a file is no error")
	}
}

// TestSwitchOfRunningSandbox: what is switched off for a team holds for its sandbox that runs, also
// when the machine's process starts anew.
func TestSwitchOfRunningSandbox(t *testing.T) {
	n := newNode(t)
	sb := n.create()
	wants := func(when string, off bool) {
		t.Helper()
		target, err := n.orch.Router().Resolve(t.Context(), proxy.Request{SandboxID: sb.SandboxID, Port: shoal.EnvdPort})
		if err != nil || target.NoSignedURLs != off {
			t.Errorf("%s: off %t, %v", when, target.NoSignedURLs, err)
		}
	}
	wants("at first", false)
	n.must(n.orch.Switch(t.Context(), shoal.SwitchSignedURLs, shoal.Standing{Others: []string{sb.TeamID}}))
	wants("off for its team", true)
	n.close()
	n.open()
	wants("after a restart", true)
	n.must(n.orch.Switch(t.Context(), shoal.SwitchSignedURLs, shoal.Standing{Off: true, Others: []string{sb.TeamID}}))
	wants("on for its team alone", false)
}
