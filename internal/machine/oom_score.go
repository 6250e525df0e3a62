package machine

import "os"

// oomScore makes the host's kernel spare this process when memory runs out, whose end would
// leave nobody to make room. Guests' kernels and processes have scores of their own.
const oomScore = "-800"

// askToBeSpared is best effort: a host that forbids it loses nothing but the preference.
func askToBeSpared() { _ = os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0) }
