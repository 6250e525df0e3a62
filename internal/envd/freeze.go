package envd

import (
	"net/http"
	"strconv"

	"shoal/internal/envd/answer"
)

// The platform freezes whole guests from outside and this daemon makes no cgroups, so the
// endpoints here do nothing, and say so in the form that their callers expect (envd.md §7).

// freezeReport is the answer to a freeze that waits. All counts are zero.
type freezeReport struct {
	Mode         string `json:"mode"`
	Visited      int    `json:"visited"`
	Allowlisted  int    `json:"allowlisted"`
	Truncated    bool   `json:"truncated"`
	PreFrozen    int    `json:"preFrozen"`
	Requested    int    `json:"requested"`
	Frozen       int    `json:"frozen"`
	NotFrozen    int    `json:"notFrozen"`
	Failed       int    `json:"failed"`
	Unobservable int    `json:"unobservable"`
	SweepMs      int64  `json:"sweepMs"`
	WaitMs       int64  `json:"waitMs"`
}

func handleFreeze(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	wait := 0
	for _, name := range []string{"maxCgroups", "maxWaitMs"} {
		if !query.Has(name) {
			continue
		}
		n, err := strconv.Atoi(query.Get(name))
		if err != nil {
			answer.Text(w, http.StatusBadRequest, name+" is not an integer")
			return
		}
		if name == "maxWaitMs" {
			wait = n
		}
	}
	mode := query.Get("mode")
	switch mode {
	case "":
		mode = "legacy"
	case "legacy", "hierarchy":
	default:
		answer.Error(w, http.StatusBadRequest, "mode must be legacy or hierarchy")
		return
	}
	if wait <= 0 {
		answer.NoContent(w)
		return
	}
	answer.JSON(w, freezeReport{Mode: mode})
}

func handleUnfreeze(w http.ResponseWriter, _ *http.Request) { answer.NoContent(w) }

// collapseReport is the answer of /collapse. All counts are zero: the daemon's heap is too
// small for huge pages to be of use.
type collapseReport struct {
	Regions     int   `json:"regions"`
	Chunks      int   `json:"chunks"`
	Collapsed   int   `json:"collapsed"`
	AlreadyHuge int   `json:"alreadyHuge"`
	Skipped     int   `json:"skipped"`
	ElapsedMs   int64 `json:"elapsedMs"`
}

func handleCollapse(w http.ResponseWriter, _ *http.Request) { answer.JSON(w, collapseReport{}) }
