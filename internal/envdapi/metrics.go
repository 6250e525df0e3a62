package envdapi

// Metrics is the answer of GET /metrics: one sample of what the guest uses (envd.md §1.2).
// Sizes are in bytes unless the name says otherwise.
type Metrics struct {
	Timestamp   int64   `json:"ts"` // Unix seconds
	CPUCount    int     `json:"cpu_count"`
	CPUUsedPct  float64 `json:"cpu_used_pct"` // of all CPUs, since the previous sample
	MemTotal    uint64  `json:"mem_total"`
	MemUsed     uint64  `json:"mem_used"`
	MemCache    uint64  `json:"mem_cache"`
	MemTotalMiB uint64  `json:"mem_total_mib"`
	MemUsedMiB  uint64  `json:"mem_used_mib"`
	DiskTotal   uint64  `json:"disk_total"` // of the root file system
	DiskUsed    uint64  `json:"disk_used"`
}
