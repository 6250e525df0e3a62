package api

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"shoal/internal/build"
	"shoal/internal/shoal"
)

func TestStart(t *testing.T) {
	w := newWorld(t)
	w.waits()
	reg := w.register(`{"name":"web"}`)
	hash := strings.Repeat("0a", 32)
	r := w.start(reg, `{"fromImage":" ubuntu:22.04 ","force":true,"startCmd":"srv","readyCmd":"true",
		"fromImageRegistry":{"type":"registry","username":"u","password":"hush"},
		"steps":[{"type":"copy","args":[".","/app","root","0755"],"force":false,"forceUpload":true,"resolveSymlinks":false,"gzip":true,"filesHash":"`+hash+`"},
			{"type":"RUN","args":["a && b","root"],"force":true},{"type":"ENV","args":["A","1"]}]}`, "User-Agent", "e2b-js-sdk/2.51.0 source/x")
	r.wants(t, 202, "")
	if r.header.Get("Content-Length") != "0" { // SDKs parse any other body as JSON
		t.Errorf("%v", r.header)
	}
	if s := w.status(reg, ""); s.Status != "building" || s.TemplateID != reg.TemplateID || s.BuildID != reg.BuildID || s.Reason != nil ||
		len(s.LogEntries) != 1 || s.LogEntries[0].Message != "Building template "+reg.TemplateID+"/"+reg.BuildID || s.LogEntries[0].Level != "info" {
		t.Errorf("%+v", s)
	}
	w.eventually(func() bool { return w.engine.job().BuildID == reg.BuildID })
	want := build.Job{TeamID: shoal.DevTeamID, TemplateID: reg.TemplateID, BuildID: reg.BuildID, CacheScope: shoal.DevTeamID,
		Resources: shoal.Resources{CPUCount: 2, MemoryMB: 1024, DiskMB: 10240}, FromImage: "ubuntu:22.04",
		Registry: &build.Registry{Type: "registry", Username: "u", Password: "hush"}, StartCmd: "srv", ReadyCmd: "true", Force: true,
		Steps: []build.Step{{Type: "COPY", Args: []string{".", "/app", "root", "0755"}, FilesHash: hash},
			{Type: "RUN", Args: []string{"a && b", "root"}, Force: true}, {Type: "ENV", Args: []string{"A", "1"}}}}
	if got := w.engine.job(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if strings.Contains(w.log.String(), "hush") {
		t.Error("the log has the password")
	}
	w.start(reg, `{"fromImage":"x"}`).wants(t, 400, "build is not in waiting state")
}

func (w *world) eventually(probe func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !probe(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatal("it does not happen")
		}
	}
}

func TestStartRefuses(t *testing.T) {
	w := newWorld(t)
	reg := w.register(`{"name":"web"}`)
	theirs := w.register(`{"name":"web"}`, "X-API-Key", otherKey)
	path := "/v2/templates/" + reg.TemplateID + "/builds/"
	image := `{"fromImage":"x"}`
	for _, c := range []struct {
		path, body string
		status     int
		message    string
	}{
		{path + "x", image, 400, "Invalid build ID: x"},
		{path + readyBuild, image, 404, "Build '" + readyBuild + "' not found"},
		{path + theirs.BuildID, image, 404, "Build '"},
		{"/v2/templates/nothing/builds/" + reg.BuildID, image, 404, "Template 'nothing' not found"},
		{"/v2/templates/web/builds/" + reg.BuildID, image, 404, "Template 'web' not found"}, // a name is no ID
		{"/v2/templates/" + theirs.TemplateID + "/builds/" + theirs.BuildID, image, 403, "User does not have access to the template"},
		{"/v2/templates/base/builds/" + readyBuild, image, 400, "build is not in waiting state"},
		{path + reg.BuildID, ``, 400, validationPrefix},
		{path + reg.BuildID, `{"fromImage":"x","steps":[{"args":[]}]}`, 400, validationPrefix},
		{path + reg.BuildID, `{"fromImage":"x","steps":[{"type":"RUN","args":[1]}]}`, 400, validationPrefix},
		{path + reg.BuildID, `{"fromImage":"x","fromImageRegistry":{"type":"ftp"}}`, 400, validationPrefix},
	} {
		t.Run(c.path+c.body, func(t *testing.T) {
			w.call("POST", c.path, c.body, "Content-Type", "application/json").wants(t, c.status, c.message)
		})
	}
	if s := w.status(reg, ""); s.Status != "waiting" {
		t.Errorf("a refusal changed the build: %+v", s)
	}
	w.must(w.store.SetStanding(t.Context(), shoal.Team{ID: otherTeam, Blocked: true}))
	w.auth.Forget()
	w.start(theirs, image, "X-API-Key", otherKey).wants(t, 403, "team is blocked")
}

// TestRefusedStartEndsTheBuild, so that it does not go on to count against the team's
// limit.
func TestRefusedStartEndsTheBuild(t *testing.T) {
	w := newWorld(t)
	for i, c := range []struct{ body, message string }{
		{`{}`, "Error when starting template build: must specify either fromImage or fromTemplate"},
		{`{"fromImage":" "}`, "Error when starting template build: must specify either fromImage or fromTemplate"},
		{`{"fromImage":"x","fromTemplate":"base"}`, "Error when starting template build: cannot specify both fromImage and fromTemplate"},
		{`{"fromImage":"x","fromImageRegistry":{"type":"aws","awsRegion":"r"}}`, "fromImageRegistry of type 'aws' needs awsAccessKeyId, awsSecretAccessKey and awsRegion"},
		{`{"fromImage":"x","fromImageRegistry":{"type":"gcp"}}`, "fromImageRegistry of type 'gcp' needs serviceAccountJson"},
		{`{"fromImage":"x","startCmd":"a\u0000b"}`, "Error when starting template build: startCmd must have no NUL and at most 131071 bytes, or else no program starts"},
		{`{"fromImage":"x","readyCmd":"` + strings.Repeat("a", 128<<10) + `"}`, "Error when starting template build: readyCmd must have no NUL and at most 131071 bytes, or else no program starts"},
		{`{"fromImage":"x","fromImageRegistry":{"type":"registry","username":"u"}}`, "fromImageRegistry of type 'registry' needs username and password"},
	} {
		t.Run(fmt.Sprintf("%.80s", c.body), func(t *testing.T) {
			reg := w.register(fmt.Sprintf(`{"name":"web%d"}`, i))
			w.start(reg, c.body).wants(t, 400, c.message)
			if s := w.status(reg, ""); s.Status != "error" || s.Reason == nil || s.Reason.Message != c.message || s.Reason.Step != build.StepBase {
				t.Errorf("%+v", s)
			}
			w.start(reg, `{"fromImage":"x"}`).wants(t, 400, "build is not in waiting state")
		})
	}
}

func TestStartFromTemplate(t *testing.T) {
	w := newWorld(t)
	parent := w.built(`{"name":"parent:v1"}`)
	for reference, want := range map[string]string{
		"parent:v1": parent.BuildID, "local-dev-team/parent:v1": parent.BuildID, "PARENT:" + parent.BuildID: parent.BuildID,
		parent.TemplateID + ":v1": parent.BuildID, "base": readyBuild, "other/shared": "bbbbbbbb-0000-4000-8000-000000000004",
	} {
		reg := w.register(`{"name":"child"}`)
		w.start(reg, fmt.Sprintf(`{"fromTemplate":%q}`, reference)).wants(t, 202, "")
		if s := w.ended(reg); s.Status != "ready" {
			t.Errorf("%s: %+v", reference, s)
			continue
		}
		if job := w.engine.job(); job.FromTemplate == nil || job.FromTemplate.ID != want || job.FromImage != "" {
			t.Errorf("%s: %+v", reference, job)
		}
		if b, err := w.store.Build(t.Context(), reg.TemplateID, reg.BuildID); err != nil || b.Origin != "template:"+want {
			t.Errorf("%s: %+v %v", reference, b, err)
		}
	}
	for reference, want := range map[string]string{
		"nothing": "template 'nothing' not found", "parent": "tag 'default' does not exist for template 'parent'",
		"parent:v9": "tag 'v9' does not exist for template 'parent'", "other/secret": "you don't have access to template 'other/secret'",
		"otherprivate": "you don't have access to template 'otherprivate'", "a b": "invalid template reference: ",
	} {
		reg := w.register(`{"name":"child"}`)
		w.start(reg, fmt.Sprintf(`{"fromTemplate":%q}`, reference)).wants(t, 202, "")
		s := w.status(reg, "")
		if s.Status != "error" || s.Reason == nil || s.Reason.Step != "base" || !strings.HasPrefix(s.Reason.Message, want) {
			t.Errorf("%s: %+v", reference, s)
			continue
		}
		if last := s.LogEntries[len(s.LogEntries)-1]; last.Message != "Build failed: "+s.Reason.Message || last.Level != "error" ||
			len(s.Reason.LogEntries) != 1 || s.Reason.LogEntries[0] != last {
			t.Errorf("%s: %+v", reference, s)
		}
	}
}

// TestRuntimeWish: a template says by which runtime it runs, and those built from it and
// snapshots of its sandboxes say the same unless they ask for another.
func TestRuntimeWish(t *testing.T) {
	w := newWorld(t)
	w.node.Change(func(i *shoal.NodeInfo) { i.Runtimes = []string{"gvisor", "second"} })
	for _, c := range []struct {
		name, body string
		want       shoal.RuntimeWish
	}{
		{"free", `{"fromImage":"x"}`, shoal.RuntimeWish{}},
		{"parent", `{"fromImage":"x","runtime":{"name":"second","required":true}}`, shoal.RuntimeWish{Name: "second", Required: true}},
		{"child", `{"fromTemplate":"parent"}`, shoal.RuntimeWish{Name: "second", Required: true}},
		{"grandchild", `{"fromTemplate":"child"}`, shoal.RuntimeWish{Name: "second", Required: true}},
		{"other", `{"fromTemplate":"parent","runtime":{"name":"gvisor"}}`, shoal.RuntimeWish{Name: "gvisor"}},
	} {
		reg := w.register(fmt.Sprintf(`{"name":%q}`, c.name))
		w.start(reg, c.body).wants(t, 202, "")
		if s := w.ended(reg); s.Status != "ready" {
			t.Fatalf("%s: %+v", c.name, s)
		}
		if got := w.engine.job().Runtime; got != c.want {
			t.Errorf("%s: the engine gets %+v", c.name, got)
		}
		if b, err := w.store.Build(t.Context(), reg.TemplateID, reg.BuildID); err != nil || b.Runtime != c.want {
			t.Errorf("%s: %+v %v", c.name, b, err)
		}
	}
}

func TestRuntimeWishRefuses(t *testing.T) {
	w := newWorld(t)
	start := func(wish string) reply {
		return w.start(w.register(`{"name":"web"}`), `{"fromImage":"x","runtime":`+wish+`}`)
	}
	start(`{"name":"kvm"}`).wants(t, 400, "no machine has the runtime 'kvm', but gvisor")
	for _, wish := range []string{`{}`, `{"name":""}`, `"gvisor"`, `{"name":"gvisor","required":"yes"}`} {
		start(wish).wants(t, 400, validationPrefix)
	}
	w.node.Change(func(i *shoal.NodeInfo) { i.Runtimes = nil })
	w.must(w.fleet.Sync(t.Context()))
	reg := w.register(`{"name":"later"}`)
	w.start(reg, `{"fromImage":"x","runtime":{"name":"gvisor"}}`).wants(t, 503, "no machine answers")
	if s := w.status(reg, ""); s.Status != "waiting" {
		t.Errorf("the build cannot be started later: %+v", s)
	}
	w.node.Change(func(i *shoal.NodeInfo) { i.Runtimes = []string{"gvisor"} }) // learned by a sync
	w.start(reg, `{"fromImage":"x","runtime":{"name":"gvisor"}}`).wants(t, 202, "")
}

func TestOldSDKsBuildAsRoot(t *testing.T) {
	w := newWorld(t)
	for agent, want := range map[string]bool{
		"e2b-js-sdk/2.2.9": true, "e2b-python-sdk/2.1.0 x": true, "e2b-js-sdk/2.3.0": false, "e2b-python-sdk/2.63.0": false,
		"curl/1.0": false, "e2b-js-sdk/dev": false, "e2b-js-sdk": false,
	} {
		reg := w.register(`{"name":"web"}`)
		w.start(reg, `{"fromImage":"x"}`, "User-Agent", agent).wants(t, 202, "")
		w.ended(reg)
		if job := w.engine.job(); job.RootBuild != want {
			t.Errorf("%s: %v", agent, job.RootBuild)
		}
	}
}

func TestBuildStatus(t *testing.T) {
	w := newWorld(t)
	w.engine.runs(func(_ context.Context, _ build.Job, log build.Log) (build.Result, error) {
		for i := range 150 {
			log.Write(build.Info, "1", fmt.Sprint(i))
		}
		log.Write(build.Debug, "2", "detail")
		log.Write(build.Warn, "2", "careful")
		return build.Result{}, &build.Failure{Message: "failed to run command 'x': exit status 1", Step: "2"}
	})
	reg := w.register(`{"name":"web"}`)
	w.start(reg, `{"fromImage":"x"}`).wants(t, 202, "")
	s := w.ended(reg)
	if s.Status != "error" || s.Reason.Message != "failed to run command 'x': exit status 1" || s.Reason.Step != "2" ||
		len(s.LogEntries) != 100 || s.Reason.LogEntries == nil || len(s.Reason.LogEntries) != 0 {
		t.Errorf("%d %+v", len(s.LogEntries), s.Reason)
	}
	second := w.status(reg, "?logsOffset=100")
	if len(second.LogEntries) != 54 || len(second.Reason.LogEntries) != 2 || second.Reason.LogEntries[0].Message != "careful" ||
		second.LogEntries[0].Message != "99" || second.LogEntries[0].Step != "1" || second.LogEntries[53].Message != "Build failed: "+s.Reason.Message {
		t.Errorf("%d %+v", len(second.LogEntries), second)
	}
	if _, err := time.Parse(time.RFC3339Nano, second.LogEntries[0].Timestamp); err != nil {
		t.Error(err)
	}
	for query, want := range map[string]int{"?logsOffset=154": 0, "?logsOffset=9999": 0, "?limit=0": 0, "?limit=7": 7, "?level=warn": 2,
		"?level=warn&logsOffset=1": 1, "?level=error": 1, "?level=debug&logsOffset=150": 4, "?level=info&logsOffset=150": 3} {
		if got := w.status(reg, query); len(got.LogEntries) != want {
			t.Errorf("%s: %d entries, want %d", query, len(got.LogEntries), want)
		}
	}
	path := "/templates/" + reg.TemplateID + "/builds/"
	for _, bad := range []string{"?logsOffset=-1", "?limit=101", "?limit=-1", "?level=loud", "?logsOffset=x"} {
		w.call("GET", path+reg.BuildID+"/status"+bad, "").wants(t, 400, validationPrefix)
	}
	for _, route := range []string{"/status", "/logs"} {
		w.call("GET", path+"x"+route, "").wants(t, 400, "Invalid build id")
		w.call("GET", path+readyBuild+route, "").wants(t, 400, "Build '"+readyBuild+"' not found")
		w.call("GET", "/templates/nothing/builds/"+reg.BuildID+route, "").wants(t, 400, "not found")
		w.call("GET", path+reg.BuildID+route, "", "X-API-Key", otherKey).wants(t, 403, "You don't have access to this sandbox template ("+reg.TemplateID+")")
		w.call("GET", path+reg.BuildID+route, "", "X-API-Key", "").wants(t, 401, "")
	}
}

func TestBuildLogs(t *testing.T) {
	w := newWorld(t)
	reg := w.built(`{"name":"web"}`)
	path := "/templates/" + reg.TemplateID + "/builds/" + reg.BuildID + "/logs"
	logs := func(query string) []logEntry {
		r := w.call("GET", path+query, "")
		r.wants(t, 200, "")
		var answer struct{ Logs []logEntry }
		r.json(t, &answer)
		if answer.Logs == nil {
			t.Errorf("%s: %s", query, r.body)
		}
		return answer.Logs
	}
	all := logs("")
	if len(all) != 2 || !strings.HasPrefix(all[0].Message, "Building template") {
		t.Fatalf("%+v", all)
	}
	if back := logs("?direction=backward"); len(back) != 2 || back[0] != all[1] {
		t.Errorf("%+v", back)
	}
	if back := logs("?direction=backward&limit=1"); len(back) != 1 || back[0] != all[1] {
		t.Errorf("%+v", back)
	}
	if none := logs(fmt.Sprintf("?cursor=%d&direction=forward&source=persistent", time.Now().Add(time.Hour).UnixMilli())); len(none) != 0 {
		t.Errorf("%+v", none)
	}
	if none := logs("?cursor=0&direction=backward"); len(none) != 0 {
		t.Errorf("%+v", none)
	}
	if none := logs("?level=warn"); len(none) != 0 {
		t.Errorf("%+v", none)
	}
	for _, bad := range []string{"?direction=up", "?source=moon", "?cursor=-1", "?limit=101"} {
		w.call("GET", path+bad, "").wants(t, 400, validationPrefix)
	}
}

// TestRebuild: the ready build serves until a newer one is ready, and a failed one
// does not displace it.
func TestRebuild(t *testing.T) {
	w := newWorld(t)
	first := w.built(`{"name":"web"}`)
	current := func() any {
		r := w.call("GET", "/v2/templates", "")
		var rows []templateRow
		r.json(t, &rows)
		for _, row := range rows {
			if row.TemplateID == first.TemplateID {
				return row.BuildID + " " + row.BuildStatus
			}
		}
		return nil
	}
	if got := current(); got != first.BuildID+" ready" {
		t.Errorf("%v", got)
	}
	failing := w.register(`{"name":"web"}`)
	w.start(failing, `{"fromImage":"x","steps":[{"type":"RUN","args":[]}]}`).wants(t, 202, "")
	if s := w.ended(failing); s.Reason == nil || s.Reason.Step != "1" || s.Reason.Message != "RUN requires command argument" {
		t.Errorf("%+v", s)
	}
	if got := current(); got != first.BuildID+" error" {
		t.Errorf("%v", got)
	}
	second := w.built(`{"name":"web"}`)
	if got := current(); got != second.BuildID+" ready" {
		t.Errorf("%v", got)
	}
}

func TestCancelTeamBuilds(t *testing.T) {
	w := newWorld(t)
	w.waits()
	running, waiting := w.register(`{"name":"running"}`), w.register(`{"name":"waiting"}`)
	w.start(running, `{"fromImage":"x"}`).wants(t, 202, "")
	theirs := w.register(`{"name":"x"}`, "X-API-Key", otherKey)
	path := "/admin/teams/" + shoal.DevTeamID + "/builds/cancel"
	admin := []string{"X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken}
	w.call("POST", path, "").wants(t, 401, "")
	w.call("POST", "/admin/teams/x/builds/cancel", "", admin...).wants(t, 400, "Invalid team ID")
	w.call("POST", "/admin/teams/"+readyBuild+"/builds/cancel", "", admin...).wants(t, 404, "Team not found")
	if r := w.call("POST", path, "", admin...); r.status != 200 || strings.TrimSpace(r.body) != `{"cancelledCount":2,"failedCount":0}` {
		t.Errorf("%d %s", r.status, r.body)
	}
	for _, reg := range []registration{running, waiting} {
		if s := w.status(reg, ""); s.Status != "error" || s.Reason.Message != "cancelled by admin" {
			t.Errorf("%+v", s)
		}
	}
	if b, err := w.store.Build(t.Context(), theirs.TemplateID, theirs.BuildID); err != nil || b.Status != shoal.BuildWaiting {
		t.Errorf("%+v %v", b, err)
	}
}
