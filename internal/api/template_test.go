package api

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

type templateRow struct {
	TemplateID, BuildID, BuildStatus, EnvdVersion string
	CPUCount, MemoryMB, DiskSizeMB                int
	Public                                        bool
	Aliases, Names                                []string
}

func templateIDs(rows []templateRow) []string {
	var list []string
	for _, r := range rows {
		list = append(list, r.TemplateID)
	}
	return list
}

func TestListTemplates(t *testing.T) {
	w := newWorld(t)
	r := w.call("GET", "/templates?teamID="+shoal.DevTeamID, "")
	r.wants(t, 200, "")
	var rows []templateRow
	r.json(t, &rows)
	if got := templateIDs(rows); !slices.Equal(got, []string{"unbuilt", "ancient", "base", "unversioned"}) {
		t.Errorf("%v", got)
	}
	unbuilt, base := rows[0], rows[2]
	if unbuilt.BuildID != shoal.NilBuildID || unbuilt.BuildStatus != "waiting" || unbuilt.CPUCount != 0 || unbuilt.Aliases == nil || unbuilt.Names == nil {
		t.Errorf("%+v", unbuilt)
	}
	if base.BuildID != readyBuild || base.BuildStatus != "error" || base.CPUCount != 2 || !base.Public || base.EnvdVersion != "0.6.13" ||
		!slices.Equal(base.Names, []string{"base"}) || !slices.Equal(base.Aliases, []string{"base"}) {
		t.Errorf("%+v", base)
	}
	if names := rows[1].Names; !slices.Equal(names, []string{"local-dev-team/old"}) {
		t.Errorf("%v", names)
	}
	var raw []map[string]any
	r.json(t, &raw)
	for _, key := range []string{"templateID", "buildID", "cpuCount", "memoryMB", "diskSizeMB", "public", "aliases", "names", "createdAt",
		"updatedAt", "createdBy", "lastSpawnedAt", "spawnCount", "buildCount", "envdVersion", "buildStatus"} {
		for _, row := range raw {
			if _, ok := row[key]; !ok {
				t.Errorf("%s lacks %s", row["templateID"], key)
			}
		}
	}
	for _, path := range []string{"/templates", "/v2/templates"} {
		w.call("GET", path+"?teamID="+otherTeam, "").wants(t, 400, "Team ID param mismatch with the API key")
		w.call("GET", path, "", "X-API-Key", "e2b_ffff").wants(t, 401, "")
		w.call("GET", path+"?teamID=", "").wants(t, 200, "")
	}
}

func TestListTemplatesV2(t *testing.T) {
	w := newWorld(t)
	var got []string
	token := ""
	for range 9 {
		r := w.call("GET", "/v2/templates?limit=2&nextToken="+token, "")
		r.wants(t, 200, "")
		var rows []templateRow
		r.json(t, &rows)
		got = append(got, templateIDs(rows)...)
		if token = r.header.Get("X-Next-Token"); token == "" {
			break
		}
	}
	if !slices.Equal(got, []string{"ancient", "base", "unversioned", "unbuilt"}) {
		t.Errorf("%v", got)
	}
	if r := w.call("GET", "/v2/templates", "", "X-API-Key", smallKey); strings.TrimSpace(r.body) != "[]" || r.header.Get("X-Next-Token") != "" {
		t.Errorf("%s %v", r.body, r.header)
	}
	w.call("GET", "/v2/templates?limit=101", "").wants(t, 400, validationPrefix)
	w.call("GET", "/v2/templates?nextToken=x", "").wants(t, 400, "Invalid next token")
}

func TestGetTemplate(t *testing.T) {
	w := newWorld(t)
	r := w.call("GET", "/templates/base?limit=2", "")
	r.wants(t, 200, "")
	var tpl struct {
		TemplateID    string
		LastSpawnedAt *string
		Builds        []struct {
			BuildID, Status string
			FinishedAt      *string
			DiskSizeMB      int
		}
	}
	r.json(t, &tpl)
	if tpl.TemplateID != "base" || len(tpl.Builds) != 2 || tpl.Builds[0].BuildID != badBuild || tpl.Builds[0].Status != "error" ||
		tpl.Builds[1].BuildID != readyBuild || tpl.Builds[1].DiskSizeMB != 10240 || !strings.Contains(r.body, `"lastSpawnedAt":null`) {
		t.Error(r.body)
	}
	for key, want := range map[string]any{"buildID": readyBuild, "cpuCount": 2.0, "memoryMB": 1024.0, "diskSizeMB": 10240.0,
		"createdBy": nil, "buildCount": 3.0, "envdVersion": "0.6.13", "buildStatus": "error", "isDefault": true} {
		if got := r.field(t, key); got != want || !strings.Contains(r.body, `"`+key+`":`) {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	next := r.header.Get("X-Next-Token")
	r = w.call("GET", "/templates/base?limit=2&nextToken="+next, "")
	r.json(t, &tpl)
	if next == "" || len(tpl.Builds) != 1 || tpl.Builds[0].BuildID != oldBuild || r.header.Get("X-Next-Token") != "" {
		t.Error(r.body)
	}
	if r := w.call("GET", "/templates/unbuilt", ""); !strings.Contains(r.body, `"builds":[]`) {
		t.Error(r.body)
	}
	w.call("GET", "/templates/old", "").wants(t, 404, "Template old not found") // an alias is no ID
	w.call("GET", "/templates/local-dev-team%2Fold", "").wants(t, 404, "Template local-dev-team/old not found")
	w.call("GET", "/templates/otherpublic", "").wants(t, 403, "You don't have access to this sandbox template (otherpublic)")
	w.call("GET", "/templates/base?limit=0", "").wants(t, 400, validationPrefix)
	w.call("GET", "/templates/base?nextToken=x", "").wants(t, 400, "Invalid next token")
}

func TestTemplateAlias(t *testing.T) {
	w := newWorld(t)
	cases := []struct {
		alias, key string
		status     int
		message    string // or the template ID
	}{
		{"base", shoal.DevAPIKey, 200, "base"},
		{"base", otherKey, 403, "You don't have access to this template alias"},
		{"OLD", shoal.DevAPIKey, 200, "ancient"},
		{"local-dev-team%2Fold", shoal.DevAPIKey, 200, "ancient"},
		{"local-dev-team%2Fold%3Av1.2", shoal.DevAPIKey, 200, "ancient"},
		{"old:default", shoal.DevAPIKey, 200, "ancient"},
		{"tags", shoal.DevAPIKey, 404, "template 'local-dev-team/tags' not found"}, // no tags of "aliases"
		{"nothing", shoal.DevAPIKey, 404, "template 'local-dev-team/nothing' not found"},
		{"old:v9", shoal.DevAPIKey, 404, "tag 'v9' does not exist for template 'old'"},
		{"base:broken", shoal.DevAPIKey, 404, "tag 'broken' does not exist for template 'base'"},
		{"other%2Fshared", shoal.DevAPIKey, 400, "namespace 'other' must match your team 'local-dev-team'"},
		{"otherpublic", shoal.DevAPIKey, 403, "You don't have access to this template alias"},
		{"a%20b", shoal.DevAPIKey, 400, "Invalid alias format: "},
		{"a%2Fb%2Fc", shoal.DevAPIKey, 400, "Invalid alias format: "},
	}
	for _, c := range cases {
		t.Run(c.alias+" "+c.key, func(t *testing.T) {
			r := w.call("GET", "/templates/aliases/"+c.alias, "", "X-API-Key", c.key)
			if c.status == 200 {
				if r.status != 200 || r.field(t, "templateID") != c.message || r.field(t, "public") != (c.message == "base") {
					t.Errorf("%d %s", r.status, r.body)
				}
				return
			}
			r.wants(t, c.status, c.message)
		})
	}
}

func TestTemplateTags(t *testing.T) {
	w := newWorld(t)
	for _, ref := range []string{"base", "base:default", "BASE%3Abroken"} {
		r := w.call("GET", "/templates/"+ref+"/tags", "")
		r.wants(t, 200, "")
		var rows []struct{ Tag, BuildID, CreatedAt string }
		r.json(t, &rows)
		if len(rows) != 2 || rows[0].BuildID != badBuild || rows[1].BuildID != badBuild || rows[0].CreatedAt == "" {
			t.Errorf("%s: %s", ref, r.body)
		}
	}
	if r := w.call("GET", "/templates/local-dev-team%2Fold/tags", ""); r.status != 200 || !strings.Contains(r.body, `"v1.2"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := w.call("GET", "/templates/unbuilt/tags", ""); strings.TrimSpace(r.body) != "[]" {
		t.Error(r.body)
	}
	w.call("GET", "/templates/nothing/tags", "").wants(t, 404, "template 'nothing' not found")
	w.call("GET", "/templates/otherpublic/tags", "").wants(t, 403, "You don't have access")
	w.call("GET", "/templates/a%20b/tags", "").wants(t, 400, "Invalid template reference: ")
}

func TestTeams(t *testing.T) {
	w := newWorld(t)
	r := w.call("GET", "/teams", "")
	want := `[{"apiKey":"` + shoal.DevAPIKey + `","isDefault":true,"name":"local-dev team","teamID":"` + shoal.DevTeamID + `"}]`
	if r.status != 200 || strings.TrimSpace(r.body) != want {
		t.Errorf("%d %s", r.status, r.body)
	}
	w.call("GET", "/teams", "", "X-API-Key", "", "Authorization", "Bearer eyJ").wants(t, 401, "Invalid auth provider token.")
}

func TestNodes(t *testing.T) {
	w := newWorld(t)
	w.create(`{"templateID":"base"}`)
	w.must(w.fleet.Sync(t.Context()))
	for path, key := range map[string]string{"/nodes": "", "/v1/service-discovery/nodes": ""} {
		r := w.call("GET", path, "", "X-API-Key", key, "X-Admin-Token", shoal.DevAdminToken)
		r.wants(t, 200, "")
		var rows []map[string]any
		r.json(t, &rows)
		if len(rows) != 1 || rows[0]["id"] != "n1" || rows[0]["status"] != "ready" || rows[0]["sandboxCount"] != 1.0 {
			t.Fatal(r.body)
		}
		metrics, _ := json.Marshal(rows[0]["metrics"])
		if !strings.Contains(string(metrics), `"allocatedCPU":2`) || !strings.Contains(string(metrics), `"disks":[]`) {
			t.Errorf("%s", metrics)
		}
	}
	admin := []string{"X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken}
	if one := w.call("GET", "/nodes/n1", "", admin...); one.status != 200 || one.field(t, "sandboxCount") != 1.0 {
		t.Errorf("%d %s", one.status, one.body)
	}
	w.call("GET", "/nodes/n2", "", admin...).wants(t, 404, "Node 'n2' not found")
	w.call("GET", "/nodes/n1", "").wants(t, 401, "Invalid Access token.")
	w.call("GET", "/v1/service-discovery/nodes", "").wants(t, 200, "")
	w.call("GET", "/v1/service-discovery/nodes", "", "X-API-Key", "").wants(t, 401, "")
}

func TestRunningCounts(t *testing.T) {
	w := newWorld(t)
	w.create(`{"templateID":"base"}`)
	w.create(`{"templateID":"base"}`)
	w.create(`{"templateID":"base"}`, "X-API-Key", smallKey)
	paused := w.create(`{"templateID":"base"}`, "X-API-Key", otherKey)
	w.call("POST", "/sandboxes/"+paused+"/pause", "", "X-API-Key", otherKey).wants(t, 204, "")
	r := w.call("GET", "/admin/sandboxes/running-counts", "", "X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken)
	var counts map[string]int
	r.json(t, &counts)
	if want := map[string]int{shoal.DevTeamID: 2, smallTeam: 1}; !maps.Equal(counts, want) {
		t.Errorf("%d %s, want %v", r.status, r.body, want)
	}
	w.call("GET", "/admin/sandboxes/running-counts", "").wants(t, 401, "Invalid Access token.")
}
