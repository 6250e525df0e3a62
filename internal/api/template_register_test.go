package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

func TestRegister(t *testing.T) {
	w := newWorld(t)
	first := w.register(`{"name":" Web:V1 ","tags":["v1","Stable"],"cpuCount":4,"memoryMB":512,"minFreeDiskMb":2000,"unknown":{}}`)
	if len(first.TemplateID) != 20 || len(first.BuildID) != 36 || first.Public ||
		!slices.Equal(first.Names, []string{"local-dev-team/web"}) || !slices.Equal(first.Aliases, []string{"web"}) || !slices.Equal(first.Tags, []string{"v1", "stable"}) {
		t.Errorf("%+v", first)
	}
	b, err := w.store.Build(t.Context(), first.TemplateID, first.BuildID)
	if err != nil || b.Status != shoal.BuildWaiting || b.Resources != (shoal.Resources{CPUCount: 4, MemoryMB: 512, DiskMB: 2000}) {
		t.Errorf("%+v %v", b, err)
	}
	again := w.register(`{"name":"local-dev-team/web"}`)
	if again.TemplateID != first.TemplateID || again.BuildID == first.BuildID || !slices.Equal(again.Tags, []string{"default"}) {
		t.Errorf("%+v", again)
	}
	b, err = w.store.Build(t.Context(), again.TemplateID, again.BuildID)
	if err != nil || b.Resources != (shoal.Resources{CPUCount: 2, MemoryMB: 1024, DiskMB: shoal.DefaultTeamLimits().DiskMB}) {
		t.Errorf("defaults: %+v %v", b, err)
	}
	if s := w.status(first, ""); s.Status != "waiting" || s.Reason != nil || len(s.LogEntries) != 0 {
		t.Errorf("another tag superseded it: %+v", s)
	}
	w.register(`{"alias":"web","tags":["stable"]}`)
	if s := w.status(first, ""); s.Status != "error" || s.Reason.Message != "The build was canceled because it was superseded by a newer one." {
		t.Errorf("%+v", s)
	}
	// The same name of another team is another template.
	if other := w.register(`{"name":"web"}`, "X-API-Key", otherKey); other.TemplateID == first.TemplateID || other.Names[0] != "other/web" {
		t.Errorf("%+v", other)
	}
	var rows []templateRow
	w.call("GET", "/templates", "").json(t, &rows)
	for _, row := range rows {
		if row.TemplateID == first.TemplateID && (row.BuildStatus != "waiting" || row.BuildID != shoal.NilBuildID || row.Names[0] != "local-dev-team/web") {
			t.Errorf("%+v", row)
		}
	}
}

func TestRegisterRefuses(t *testing.T) {
	w := newWorld(t)
	w.template("snapped", shoal.DevTeamID, false, shoal.Alias{Namespace: "local-dev-team", Name: "snap"},
		makeBuild("snapped", "cccccccc-0000-4000-8000-000000000001", created))
	w.must(w.store.CreateTemplate(t.Context(), shoal.Template{ID: "asnapshot", TeamID: shoal.DevTeamID, Source: shoal.SourceSnapshot}))
	w.must(w.store.AddAlias(t.Context(), "asnapshot", shoal.Alias{Namespace: "local-dev-team", Name: "taken"}))
	templates, err := w.store.Templates(t.Context(), shoal.DevTeamID)
	w.must(err)
	uuid := "11111111-1111-4111-8111-111111111111"
	for _, c := range []struct {
		body    string
		status  int
		message string
	}{
		{``, 400, validationPrefix},
		{`{`, 400, validationPrefix},
		{`[]`, 400, validationPrefix},
		{`{}`, 400, "Name is required"},
		{`{"name":"  "}`, 400, "Name is required"},
		{`{"name":7}`, 400, validationPrefix},
		{`{"name":"` + strings.Repeat("a", 129) + `"}`, 400, validationPrefix},
		{`{"name":"Bad Name"}`, 400, "Invalid name: bad name (a name has only letters, digits, - and _)"},
		{`{"name":"a/b/c"}`, 400, "Invalid name: "},
		{`{"name":"../x"}`, 400, "Invalid name: "},
		{`{"name":":tag"}`, 400, "Invalid name: it is empty"},
		{`{"name":"x:"}`, 400, "Invalid tag: a tag is missing after ':'"},
		{`{"name":"x:a b"}`, 400, "Invalid tag: a b (a tag has only letters, digits, -, _ and .)"},
		{`{"name":"x:` + uuid + `"}`, 400, "Invalid tag: "},
		{`{"name":"x","tags":[""]}`, 400, "Invalid tag: it is empty"},
		{`{"name":"x","tags":["` + uuid + `"]}`, 400, "Invalid tag: "},
		{`{"name":"x","tags":["a:b"]}`, 400, "Invalid tag: "},
		{`{"name":"x","tags":["` + strings.Repeat("t", 129) + `"]}`, 400, "(a tag has at most 128 characters)"},
		{`{"name":"x","tags":"v1"}`, 400, validationPrefix},
		{`{"name":"other/x"}`, 400, "namespace 'other' must match your team 'local-dev-team'"},
		{`{"name":"x","teamID":"` + otherTeam + `"}`, 400, "Team ID param mismatch with the API key"},
		{`{"name":"x","cpuCount":0}`, 400, "CPU count must be at least 1"},
		{`{"name":"x","cpuCount":-2}`, 400, "CPU count must be at least 1"},
		{`{"name":"x","cpuCount":34}`, 400, "CPU count must be at most 32"},
		{`{"name":"x","cpuCount":3}`, 400, "CPU count must be 1 or an even number"},
		{`{"name":"x","cpuCount":99999999999}`, 400, validationPrefix},
		{`{"name":"x","memoryMB":127}`, 400, "Memory must be at least 128 MiB"},
		{`{"name":"x","memoryMB":1025}`, 400, "Memory must be divisible by 2"},
		{`{"name":"x","memoryMB":65538}`, 400, "Memory can't be higher than 65536 MiB (the operator can raise the limits of a team)"},
		{`{"name":"x","minFreeDiskMb":-1}`, 400, validationPrefix},
		{`{"name":"otherprivate"}`, 409, "Alias 'otherprivate' is already used"},
		{`{"name":"base"}`, 409, "Alias 'base' is already used"},
		{`{"name":"taken"}`, 403, "Alias 'taken' already used"},
	} {
		t.Run(c.body, func(t *testing.T) {
			w.call("POST", "/v3/templates", c.body, "Content-Type", "application/json").wants(t, c.status, c.message)
		})
	}
	w.call("POST", "/v3/templates", `{"name":"x"}`, "X-API-Key", "e2b_ffff").wants(t, 401, "")
	after, err := w.store.Templates(t.Context(), shoal.DevTeamID)
	if err != nil || len(after) != len(templates) {
		t.Errorf("%d templates became %d", len(templates), len(after))
	}
}

func TestRegisterTeamLimits(t *testing.T) {
	w := newWorld(t)
	limits := shoal.DefaultTeamLimits()
	limits.MaxCPU, limits.MaxMemoryMB, limits.ConcurrentBuilds, limits.DiskMB = 4, 2048, 2, 4096
	const key = "e2b_03"
	w.team("33333333-3333-4333-8333-333333333333", "tight", key, limits)
	call := func(body string) reply { return w.call("POST", "/v3/templates", body, "X-API-Key", key) }
	call(`{"name":"x","cpuCount":6}`).wants(t, 400, "CPU count can't be higher than 4 (the operator can raise the limits of a team)")
	call(`{"name":"x","memoryMB":2050}`).wants(t, 400, "Memory can't be higher than 2048 MiB")
	for minFree, want := range map[int]int64{0: minDisk, 3000: 3000, 9000: 4096} {
		reg := w.register(fmt.Sprintf(`{"name":"x","minFreeDiskMb":%d}`, minFree), "X-API-Key", key)
		if b, err := w.store.Build(t.Context(), reg.TemplateID, reg.BuildID); err != nil || b.Resources.DiskMB != want {
			t.Errorf("%d: %+v %v", minFree, b, err)
		}
	}
	call(`{"name":"y"}`).wants(t, 202, "")
	r := call(`{"name":"z"}`)
	r.wants(t, 429, "you have reached the maximum number of concurrent template builds (2). Please wait for existing builds to complete.")
	if cause := r.field(t, "cause").(string); !strings.HasPrefix(cause, "2 of the team's builds are registered and wait for a start") || !strings.Contains(cause, "or 40 minutes") {
		t.Errorf("cause %q", cause)
	}
	if r.header.Get("Should-Retry") != "false" || r.header.Get("Retry-After") != "" {
		t.Errorf("clients would repeat it: %v", r.header)
	}
	call(`{"name":"y"}`).wants(t, 202, "") // takes the place of the other
}

func TestRegisterV2(t *testing.T) {
	w := newWorld(t)
	r := w.call("POST", "/v2/templates", `{"alias":"old-way","cpuCount":2,"memoryMB":512}`)
	r.wants(t, 202, "")
	var raw map[string]any
	r.json(t, &raw)
	for _, key := range []string{"templateID", "buildID", "cpuCount", "memoryMB", "diskSizeMB", "public", "aliases", "createdAt", "updatedAt",
		"createdBy", "lastSpawnedAt", "spawnCount", "buildCount", "envdVersion"} {
		if _, ok := raw[key]; !ok {
			t.Errorf("%s is missing in %s", key, r.body)
		}
	}
	reg := registration{TemplateID: raw["templateID"].(string), BuildID: raw["buildID"].(string)}
	w.start(reg, `{"fromImage":"debian:12"}`).wants(t, 202, "")
	if s := w.ended(reg); s.Status != "ready" {
		t.Errorf("%+v", s)
	}
	w.call("POST", "/v2/templates", `{}`).wants(t, 400, validationPrefix)
	w.call("POST", "/v2/templates", `{"alias":""}`).wants(t, 400, "Name is required")
	w.call("POST", "/v2/templates", `{"alias":"x","cpuCount":5}`).wants(t, 400, "CPU count must be 1 or an even number")
}

func TestDockerBuildsAreRefused(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/templates", "/templates/", "/templates/abc", "/templates/abc/builds/" + readyBuild} {
		w.call("POST", path, `{"dockerfile":"FROM x"}`, "X-API-Key", "", "Authorization", "Bearer sk_e2b_00").wants(t, 410, "Please update your SDK or CLI")
	}
	w.call("POST", "/templates/abc/tags", "").wants(t, 405, "")
}
