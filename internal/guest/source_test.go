package guest

import (
	"errors"
	"testing"

	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// plain is a runtime of a name, whose guests have volumes or not.
type plain struct {
	runtime.Runtime
	name    string
	volumes bool
}

func (p plain) Maker() runtime.Maker { return runtime.Maker{Runtime: p.name} }
func (p plain) Volumes() bool        { return p.volumes }

// TestWithVolumes: a guest with volumes starts where it can have them, and nothing starts where it cannot.
func TestWithVolumes(t *testing.T) {
	h := &Host{runtimes: runtime.Set{plain{name: "vm"}, plain{name: "shared", volumes: true}}}
	needsVM := shoal.RuntimeWish{Name: "vm", Required: true}
	start := shoal.StartBlock{Command: "serve"}
	images := Source{Root: "images"}
	memory := func(of string, cold *Source) Source {
		return Source{Root: "images", Checkpoint: "memory", Made: runtime.Maker{Runtime: of}, Cold: cold, Start: start}
	}
	for name, c := range map[string]struct {
		from             Source
		checkpoint, runs string
		starts           bool
	}{
		"images":                    {images, "", "shared", false},
		"images for either":         {Source{Root: "images", Runtime: shoal.RuntimeWish{Name: "vm"}}, "", "shared", false},
		"images for a microVM":      {Source{Root: "images", Runtime: needsVM}, "", "", false},
		"a microVM's disk":          {Source{Root: "images", Upper: "disk", Runtime: needsVM}, "", "", false},
		"memory with volumes":       {memory("shared", &images), "memory", "", true},
		"a microVM's memory":        {memory("vm", &images), "", "shared", true},
		"memory without its images": {memory("vm", nil), "", "", false},
		"memory of a microVM's":     {memory("vm", &Source{Root: "images", Runtime: needsVM}), "", "", false},
	} {
		got, err := h.WithVolumes(c.from)
		if refused := c.checkpoint == "" && c.runs == ""; refused {
			if !errors.Is(err, runtime.ErrUnfit) {
				t.Errorf("%s: %+v %v", name, got, err)
			}
			continue
		}
		if err != nil || got.Checkpoint != c.checkpoint || got.Runtime.Name != c.runs || (got.Start.Command != "") != c.starts {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}
