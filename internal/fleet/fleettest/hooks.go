package fleettest

import (
	"context"

	"shoal/internal/shoal"
)

// What tests set about a machine, and what it has been told.

// OnCreate sets a function that each Create calls before the sandbox exists. If it fails,
// Create returns its error.
func (n *Node) OnCreate(fn func(context.Context, shoal.Spec) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.onCreate = fn
}

// OnDeadline sets a function that each SetDeadline calls first.
func (n *Node) OnDeadline(fn func(sandboxID string)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.onDeadline = fn
}

// OnPause sets a function that each Pause calls first.
func (n *Node) OnPause(fn func(sandboxID string)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.onPause = fn
}

// SetSaveSize sets how many bytes pauses and snapshots take from now on.
func (n *Node) SetSaveSize(bytes int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.saveSize = bytes
}

// OnResume sets a function that each Resume calls first. If it fails, Resume returns its
// error.
func (n *Node) OnResume(fn func(context.Context) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.onResume = fn
}

// SetStatus sets what the machine says of itself.
func (n *Node) SetStatus(status shoal.NodeStatus) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.info.Status = status
}

// SetDown makes every call fail with err; nil ends that.
func (n *Node) SetDown(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = err
}

// SilenceDaemons lets the daemons of all sandboxes be silent, or answer again.
func (n *Node) SilenceDaemons(silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent = silent
}

// OnList sets a function that each List calls first.
func (n *Node) OnList(fn func(context.Context)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.onList = fn
}

// Asked returns how often Get and List were called since the last time.
func (n *Node) Asked() (gets, lists int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	gets, lists = n.gets, n.lists
	n.gets, n.lists = 0, 0
	return gets, lists
}

// Change edits what Info answers.
func (n *Node) Change(fn func(*shoal.NodeInfo)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fn(&n.info)
}

// Put adds or replaces a sandbox.
func (n *Node) Put(sb shoal.Sandbox) {
	n.mu.Lock()
	defer n.mu.Unlock()
	sb.NodeID = n.info.ID
	n.sandboxes[sb.SandboxID] = sb
}

// Drop removes a sandbox as if it had timed out.
func (n *Node) Drop(sandboxID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.sandboxes, sandboxID)
}

// PutLog sets the log of a team's sandbox, oldest first.
func (n *Node) PutLog(sandboxID, teamID string, entries ...shoal.LogEntry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.logs[sandboxID+" of "+teamID] = entries
}

// Spec returns what Create was given for a sandbox.
func (n *Node) Spec(sandboxID string) shoal.Spec {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.specs[sandboxID]
}

// Killed returns why a sandbox was killed, "" if it was not.
func (n *Node) Killed(sandboxID string) shoal.KillReason {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.kills[sandboxID]
}

// Network returns the policy that SetNetwork last gave a sandbox.
func (n *Node) Network(sandboxID string) shoal.Network {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.networks[sandboxID]
}

// Switched has what Switch was called with, but for what comes while 16 are unread.
func (n *Node) Switched() <-chan shoal.Standing { return n.switched }
