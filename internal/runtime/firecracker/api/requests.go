package api

import (
	"context"
	"net/http"
	"net/url"
)

// Instance is what a Firecracker says of itself.
type Instance struct {
	ID      string `json:"id"`
	State   State  `json:"state"`
	Version string `json:"vmm_version"` // without the v
}

// State is that of a virtual machine.
type State string

// The states of a virtual machine.
const (
	NotStarted State = "Not started"
	Running    State = "Running"
	Paused     State = "Paused"
)

// BootSource is the kernel that a machine begins with. Paths are in Firecracker's root.
type BootSource struct {
	Kernel    string `json:"kernel_image_path"`
	Initrd    string `json:"initrd_path,omitempty"`
	Arguments string `json:"boot_args,omitempty"`
}

// Drive is a disk.
type Drive struct {
	ID       string `json:"drive_id"`
	Path     string `json:"path_on_host"`
	Root     bool   `json:"is_root_device"`
	ReadOnly bool   `json:"is_read_only"`
	// Cache is Unsafe, by which the guest's flushes do nothing, or Writeback.
	Cache   string   `json:"cache_type,omitempty"`
	Engine  string   `json:"io_engine,omitempty"` // Sync or Async
	Limiter *Limiter `json:"rate_limiter,omitempty"`
}

// Interface is a network card whose other end is a tap device.
type Interface struct {
	ID        string   `json:"iface_id"`
	MAC       string   `json:"guest_mac,omitempty"`
	Tap       string   `json:"host_dev_name"`
	RxLimiter *Limiter `json:"rx_rate_limiter,omitempty"`
	TxLimiter *Limiter `json:"tx_rate_limiter,omitempty"`
}

// Limiter bounds rates; what is nil is not bounded.
type Limiter struct {
	Bandwidth *Bucket `json:"bandwidth,omitempty"` // tokens are bytes
	Ops       *Bucket `json:"ops,omitempty"`       // tokens are operations
}

// Bucket holds Size tokens and fills up within Refill milliseconds.
type Bucket struct {
	Size   int64 `json:"size"`
	Burst  int64 `json:"one_time_burst,omitempty"`
	Refill int64 `json:"refill_time"`
}

// MachineConfig is a machine's size.
type MachineConfig struct {
	CPUs      int    `json:"vcpu_count"` // 1, or an even number up to 32
	MemoryMB  int64  `json:"mem_size_mib"`
	SMT       bool   `json:"smt"`
	Dirty     bool   `json:"track_dirty_pages"`
	HugePages string `json:"huge_pages,omitempty"` // None or 2M
}

// Vsock is a device for sockets between host and guest.
type Vsock struct {
	CID  uint32 `json:"guest_cid"`
	Path string `json:"uds_path"`
}

// Balloon is a device by which the host gets memory back.
type Balloon struct {
	AmountMB     int64 `json:"amount_mib"`
	DeflateOnOOM bool  `json:"deflate_on_oom"`
}

// Entropy is a device for random numbers.
type Entropy struct {
	Limiter *Limiter `json:"rate_limiter,omitempty"`
}

// MMDSConfig is a metadata service inside Firecracker.
type MMDSConfig struct {
	Version    string   `json:"version"`
	Interfaces []string `json:"network_interfaces"`
	Address    string   `json:"ipv4_address,omitempty"`
}

// Snapshot is where a paused machine is written to. Paths are in Firecracker's root.
type Snapshot struct {
	Type   string `json:"snapshot_type"` // Full, or Diff where dirty pages are tracked
	State  string `json:"snapshot_path"`
	Memory string `json:"mem_file_path"`
}

// Load is what a machine is restored from, by a Firecracker that has no machine yet.
type Load struct {
	State    string     `json:"snapshot_path"`
	Memory   Backend    `json:"mem_backend"`
	Dirty    bool       `json:"track_dirty_pages"`
	Resume   bool       `json:"resume_vm"`
	Networks []Override `json:"network_overrides,omitempty"`
}

// Backend is where the memory comes from: a File, or a socket of who serves page faults (Uffd).
type Backend struct {
	Type string `json:"backend_type"`
	Path string `json:"backend_path"`
}

// Override names another tap device than that of the snapshot.
type Override struct {
	Interface string `json:"iface_id"`
	Tap       string `json:"host_dev_name"`
}

func (c *Client) put(ctx context.Context, path string, body any) error {
	return c.do(ctx, http.MethodPut, path, body, nil)
}

func (c *Client) patch(ctx context.Context, path string, body any) error {
	return c.do(ctx, http.MethodPatch, path, body, nil)
}

// Instance asks what the machine is doing.
func (c *Client) Instance(ctx context.Context) (i Instance, err error) {
	return i, c.do(ctx, http.MethodGet, "/", nil, &i)
}

// SetBootSource says what the machine begins with.
func (c *Client) SetBootSource(ctx context.Context, b BootSource) error {
	return c.put(ctx, "/boot-source", b)
}

// SetDrive adds a disk.
func (c *Client) SetDrive(ctx context.Context, d Drive) error {
	return c.put(ctx, "/drives/"+url.PathEscape(d.ID), d)
}

// LimitDrive changes a disk's rates.
func (c *Client) LimitDrive(ctx context.Context, id string, l Limiter) error {
	return c.patch(ctx, "/drives/"+url.PathEscape(id), map[string]any{"drive_id": id, "rate_limiter": l})
}

// SetInterface adds a network card.
func (c *Client) SetInterface(ctx context.Context, i Interface) error {
	return c.put(ctx, "/network-interfaces/"+url.PathEscape(i.ID), i)
}

// LimitInterface changes a network card's rates.
func (c *Client) LimitInterface(ctx context.Context, id string, receive, send Limiter) error {
	return c.patch(ctx, "/network-interfaces/"+url.PathEscape(id),
		map[string]any{"iface_id": id, "rx_rate_limiter": receive, "tx_rate_limiter": send})
}

// SetMachine says how large the machine is.
func (c *Client) SetMachine(ctx context.Context, m MachineConfig) error {
	return c.put(ctx, "/machine-config", m)
}

// SetVsock adds the device for sockets.
func (c *Client) SetVsock(ctx context.Context, v Vsock) error { return c.put(ctx, "/vsock", v) }

// SetBalloon adds the balloon.
func (c *Client) SetBalloon(ctx context.Context, b Balloon) error { return c.put(ctx, "/balloon", b) }

// Inflate changes how much the balloon is to take of the guest.
func (c *Client) Inflate(ctx context.Context, amountMB int64) error {
	return c.patch(ctx, "/balloon", map[string]int64{"amount_mib": amountMB})
}

// SetEntropy adds the device for random numbers.
func (c *Client) SetEntropy(ctx context.Context, e Entropy) error { return c.put(ctx, "/entropy", e) }

// SetMMDS adds the metadata service, PutMetadata says what is in it.
func (c *Client) SetMMDS(ctx context.Context, m MMDSConfig) error {
	return c.put(ctx, "/mmds/config", m)
}

// PutMetadata replaces what the metadata service tells the guest.
func (c *Client) PutMetadata(ctx context.Context, document any) error {
	return c.put(ctx, "/mmds", document)
}

// Start begins the machine.
func (c *Client) Start(ctx context.Context) error {
	return c.put(ctx, "/actions", map[string]string{"action_type": "InstanceStart"})
}

// Pause stops the machine's processors. It does nothing if they stand still.
func (c *Client) Pause(ctx context.Context) error { return c.setState(ctx, Paused) }

// Resume lets them go on.
func (c *Client) Resume(ctx context.Context) error { return c.setState(ctx, "Resumed") }

func (c *Client) setState(ctx context.Context, s State) error {
	return c.patch(ctx, "/vm", map[string]State{"state": s})
}

// CreateSnapshot writes a paused machine.
func (c *Client) CreateSnapshot(ctx context.Context, s Snapshot) error {
	return c.put(ctx, "/snapshot/create", s)
}

// LoadSnapshot makes a machine of what was written.
func (c *Client) LoadSnapshot(ctx context.Context, l Load) error {
	return c.put(ctx, "/snapshot/load", l)
}
