package shoal

import (
	"slices"
	"strings"
)

// Switches is a set of features that an operator may switch off. Operations name one each
// (x-shoal-switch in spec/openapi.yml), or handlers ask for those that a part of a body needs.
type Switches uint32

const (
	SwitchAutoResume    Switches = 1 << iota // by traffic
	SwitchBuilds                             // of templates
	SwitchEgressProxies                      // of new sandboxes, and of others that change their network
	SwitchEvents                             // lists of them
	SwitchForks
	SwitchInternet // for new sandboxes, and for others that change their network
	SwitchLogs
	SwitchMemoryPause // pauses that keep the memory
	SwitchMetrics
	SwitchPauses
	SwitchPublicTraffic  // to new sandboxes, without their token
	SwitchPublishing     // showing templates to all teams
	SwitchRegistryImages // as what a template is built from
	SwitchSecrets
	SwitchServiceAccounts
	SwitchSignedURLs // of sandboxes' files
	SwitchSnapshots
	SwitchTransforms // of requests, for new sandboxes, and for others that change their network
	SwitchVolumes    // and mounts of them in new sandboxes
	SwitchWebhooks
	SwitchWorkloadTokens // of new sandboxes, and in headers of all
)

// switchNames are the names that operators know, by the bits' positions, and what each is about.
var switchNames = []struct{ name, about string }{
	{"auto-resume", "Traffic resumes paused sandboxes."},
	{"builds", "Templates are built."},
	{"egress-proxies", "Connections of sandboxes go through SOCKS5 proxies of their teams."},
	{"events", "Events of sandboxes are listed."},
	{"forks", "Running sandboxes are copied."},
	{"internet", "New sandboxes reach the internet."},
	{"logs", "Logs of sandboxes are shown."},
	{"memory-pause", "Pauses keep the memory."},
	{"metrics", "Metrics of sandboxes and teams are shown."},
	{"pauses", "Sandboxes are paused."},
	{"public-traffic", "New sandboxes are open to whoever knows their address."},
	{"publishing", "Teams that may show templates to all teams do so."},
	{"registry-images", "Templates are built from images of container registries."},
	{"secrets", "Secrets are made, listed and filled into headers."},
	{"service-accounts", "Service accounts and keys of theirs are made."},
	{"signed-urls", "Files are read and written by signed URLs."},
	{"snapshots", "Templates are made of running sandboxes."},
	{"transforms", "Requests of sandboxes to domains that their rules name get headers."},
	{"volumes", "Volumes are made, used and mounted in new sandboxes."},
	{"webhooks", "Webhooks are made, changed, tested and replayed."},
	{"workload-tokens", "Sandboxes have tokens of their identity."},
}

// EverySwitch has all features, each as a set of itself, in the order of their names.
func EverySwitch() []Switches {
	list := make([]Switches, len(switchNames))
	for i := range list {
		list[i] = 1 << i
	}
	return list
}

// ParseSwitch returns the one feature of a name.
func ParseSwitch(name string) (Switches, error) {
	var names []string
	for i, known := range switchNames {
		if name == known.name {
			return 1 << i, nil
		}
		names = append(names, known.name)
	}
	return 0, ErrSwitchNotFound.New("No switch is named %.64q; there are %s", name, strings.Join(names, ", "))
}

// ParseSwitches returns the features of the names.
func ParseSwitches(names []string) (set Switches, err error) {
	for _, name := range names {
		one, err := ParseSwitch(name)
		if err != nil {
			return 0, err
		}
		set |= one
	}
	return set, nil
}

// Has reports whether all of the asked features are in the set.
func (s Switches) Has(asked Switches) bool { return s&asked == asked }

// String joins the names by blanks.
func (s Switches) String() string {
	var names []string
	for i, known := range switchNames {
		if s&(1<<i) != 0 {
			names = append(names, known.name)
		}
	}
	return strings.Join(names, " ")
}

// About says what one feature is.
func (s Switches) About() string {
	for i, known := range switchNames {
		if s == 1<<i {
			return known.about
		}
	}
	return ""
}

// Positions are what features were switched to while Shoal runs, for the installation or a team.
// What is in neither was not switched.
type Positions struct {
	On, Off Switches
}

// SwitchState is how a feature stands, for the installation or a team.
type SwitchState struct {
	Feature Switches // one
	On      bool
	Fixed   bool // by the configuration
	Own     bool // it was switched for the team by itself
}

// SwitchStates are those of all features, in the order of their names.
func SwitchStates(fixed Switches, installation, team Positions) []SwitchState {
	off := OffFor(fixed, installation, team)
	var list []SwitchState
	for _, one := range EverySwitch() {
		list = append(list, SwitchState{one, !off.Has(one), fixed.Has(one), (team.On | team.Off).Has(one)})
	}
	return list
}

// OffFor are the features that a team cannot use: fixed ones never, others unless they were switched
// on for the team after all.
func OffFor(fixed Switches, installation, team Positions) Switches {
	return fixed | team.Off | installation.Off&^team.On
}

// Standing is how one feature stands for all teams: for those of Others, the opposite of Off.
type Standing struct {
	Off    bool     `json:"off"`
	Others []string `json:"others,omitempty"` // IDs, sorted
}

// OffFor reports whether a team cannot use the feature.
func (s Standing) OffFor(teamID string) bool {
	_, other := slices.BinarySearch(s.Others, teamID)
	return s.Off != other
}

// Equal reports whether the feature stands the same.
func (s Standing) Equal(other Standing) bool {
	return s.Off == other.Off && slices.Equal(s.Others, other.Others)
}
