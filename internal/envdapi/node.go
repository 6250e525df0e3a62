package envdapi

// HyperloopIP is the address at which every guest finds its node (envd.md §4.1), on port
// 80. The guest learns it from Init.
const HyperloopIP = "192.0.2.1"

// EventsHost is the name of that address in the guest.
const EventsHost = "events.e2b.local"

// The paths of the node's endpoints for its guests.
const (
	MePath   = "/me"   // GET: the ID of the sandbox that asks
	LogsPath = "/logs" // POST lines of JSON: they belong to the sandbox's log (envd.md §4.7)
)
