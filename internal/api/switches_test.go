package api

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/auth"
	"shoal/internal/shoal"
)

// switchedOff reports whether an answer says that a feature is off.
func (r reply) switchedOff() bool { return strings.Contains(r.body, `"feature.switched_off"`) }

// TestSwitchedRoutes: a switch that is off refuses the routes that the specification names, to
// everybody and as such, and no others.
func TestSwitchedRoutes(t *testing.T) {
	w := newWorld(t)
	spec, err := gen.GetSpec()
	w.must(err)
	ownWords := map[shoal.Switches]string{shoal.SwitchSecrets: "Secrets are not available for this team"}
	routes, who := 0, asker{}
	member := w.member(w.trust(), "ann", shoal.DevTeamID, shoal.RoleOwner)
	asOperator := []string{"X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken, "X-Team-ID", shoal.DevTeamID}
	for _, one := range shoal.EverySwitch() {
		w.operate("PUT", "/admin/switches/"+one.String(), `{"on":false}`).wants(t, 200, "")
		for route, item := range spec.Paths.Map() {
			for method, op := range item.Operations() {
				if strings.HasPrefix(route, "/admin/") {
					continue
				}
				body := ""
				if method != http.MethodGet && method != http.MethodDelete {
					body = "{}"
				}
				want := op.Extensions["x-shoal-switch"] == one.String()
				for _, headers := range [][]string{nil, member, asOperator} {
					r := w.call(method, who.path(route), body, headers...)
					if want && r.status == 401 {
						continue // not by this credential
					}
					if r.switchedOff() != want {
						t.Errorf("%s off: %s %s: %d %s", one, method, route, r.status, r.body)
					}
					if want {
						routes++
						r.wants(t, 403, cmp.Or(ownWords[one], one.String()))
					}
				}
			}
		}
		w.operate("PUT", "/admin/switches/"+one.String(), `{"on":true}`).wants(t, 200, "")
	}
	if routes < 40 {
		t.Errorf("only %d calls were refused", routes)
	}
}

// TestSwitchedParts: what a body asks for is refused if it is off, and the rest is not; nothing is
// changed by a refusal.
func TestSwitchedParts(t *testing.T) {
	w := newWorld(t)
	sandbox := w.create(`{"templateID":"base"}`)
	count := func() int {
		list, err := w.node.List(t.Context())
		w.must(err)
		return len(list)
	}
	template := func() string { // with its first build, as its path
		reg := w.call("POST", "/v3/templates", `{"name":"mine"}`)
		reg.wants(t, 202, "")
		return "/v2/templates/" + reg.field(t, "templateID").(string) + "/builds/" + reg.field(t, "buildID").(string)
	}()
	const create = "/v2/sandboxes"
	for _, c := range []struct {
		off                string
		method, path, body string
		refused            bool
	}{
		{"auto-resume", "POST", create, `{"templateID":"base","autoPause":true,"autoResume":{"enabled":true}}`, true},
		{"auto-resume", "POST", create, `{"templateID":"base","autoPause":true,"autoResume":{"enabled":false}}`, false},
		{"memory-pause", "POST", create, `{"templateID":"base","autoPause":true}`, true},
		{"memory-pause", "POST", create, `{"templateID":"base","autoPause":true,"autoPauseMemory":false}`, false},
		{"memory-pause", "POST", create, `{"templateID":"base"}`, false},
		{"memory-pause", "POST", "/sandboxes/" + sandbox + "/pause", ``, true},
		{"memory-pause", "POST", "/sandboxes/" + sandbox + "/pause", `{"memory":true}`, true},
		{"pauses", "POST", create, `{"templateID":"base","autoPause":true,"autoPauseMemory":false}`, true},
		{"pauses", "POST", create, `{"templateID":"base"}`, false},
		{"public-traffic", "POST", create, `{"templateID":"base"}`, true},
		{"public-traffic", "POST", create, `{"templateID":"base","network":{"allowPublicTraffic":null}}`, true},
		{"public-traffic", "POST", "/sandboxes", `{"templateID":"base","secure":true,"network":{"allowPublicTraffic":true}}`, true},
		{"public-traffic", "POST", create, `{"templateID":"base","network":{"allowPublicTraffic":false}}`, false},
		{"internet", "POST", create, `{"templateID":"base"}`, true},
		{"internet", "POST", "/sandboxes", `{"templateID":"base","allow_internet_access":true}`, true},
		{"internet", "POST", create, `{"templateID":"base","allow_internet_access":false,"network":{"allowOut":["1.1.1.1"]}}`, true},
		{"internet", "POST", create, `{"templateID":"base","allow_internet_access":false}`, false},
		{"internet", "PUT", "/sandboxes/" + sandbox + "/network", `{"allow_internet_access":true}`, true},
		{"internet", "PUT", "/sandboxes/" + sandbox + "/network", `{"allowOut":["1.1.1.1"]}`, true},
		{"internet", "PUT", "/sandboxes/" + sandbox + "/network", `{"denyOut":["1.1.1.1"]}`, false},
		{"volumes", "POST", create, `{"templateID":"base","volumeMounts":[]}`, false},
		{"publishing", "PATCH", "/v2/templates/mine", `{"public":true}`, true},
		{"publishing", "PATCH", "/templates/mine", `{"public":true}`, true},
		{"publishing", "PATCH", "/v2/templates/mine", `{"public":false}`, false},
		{"registry-images", "POST", template, `{"fromImage":"debian"}`, true},
		{"registry-images", "POST", template, `{"fromTemplate":"base"}`, false},
		{"memory-pause", "POST", "/sandboxes/" + sandbox + "/pause", `{"memory":false}`, false},
	} {
		before := count()
		w.operate("PUT", "/admin/switches/"+c.off, `{"on":false}`).wants(t, 200, "")
		r := w.call(c.method, c.path, c.body)
		w.operate("PUT", "/admin/switches/"+c.off, `{"on":true}`).wants(t, 200, "")
		if r.switchedOff() != c.refused || !c.refused && r.status >= 300 {
			t.Errorf("%s off: %s %s: %d %s", c.off, c.path, c.body, r.status, r.body)
		}
		if c.refused && count() != before {
			t.Errorf("%s off: %s has made a sandbox", c.off, c.body)
		}
	}
}

// TestTeamSwitch: a team's own switch comes before the installation's, and the configuration before
// both.
func TestTeamSwitch(t *testing.T) {
	w := newWorld(t)
	team := "/admin/teams/" + otherTeam + "/switches"
	refused := func(key string) bool {
		return w.call("GET", "/events/sandboxes", "", "X-API-Key", key).switchedOff()
	}
	wants := func(other, small bool) {
		t.Helper()
		if refused(otherKey) != other || refused(smallKey) != small {
			t.Errorf("want %v, %v", other, small)
		}
	}
	wants(false, false)
	w.operate("PUT", team+"/events", `{"on":false}`).wants(t, 200, "")
	wants(true, false)
	w.operate("PUT", "/admin/switches/events", `{"on":false}`).wants(t, 200, "")
	wants(true, true)
	if r := w.operate("PUT", team+"/events", `{"on":true}`); r.field(t, "on") != true || r.field(t, "own") != true {
		t.Error(r.body)
	}
	wants(false, true)
	if r := w.operate("DELETE", team+"/events", ""); r.status != 204 {
		t.Errorf("%d %s", r.status, r.body)
	}
	wants(true, true)
	var rows []struct {
		Name           string
		On, Fixed, Own bool
	}
	w.operate("GET", team, "").json(t, &rows)
	for _, row := range rows {
		if row.On != (row.Name != "events") || row.Fixed || row.Own {
			t.Errorf("%+v", row)
		}
	}
	if w.operate("GET", "/admin/switches", "").json(t, &rows); len(rows) != len(shoal.EverySwitch()) {
		t.Errorf("%+v", rows)
	}
	w.operate("PUT", "/admin/switches/luck", `{"on":true}`).wants(t, 404, "luck")
	w.operate("PUT", "/admin/switches/events", `{}`).wants(t, 400, "")
	w.operate("PUT", "/admin/switches/events", `{"on":true}`).wants(t, 200, "")

	w.auth = auth.New(w.store, auth.Config{AdminToken: shoal.DevAdminToken, Off: shoal.SwitchEvents}, w.server.log)
	w.serve(Origins{Allowed: []string{AnyOrigin}}, "api", w.server.log)
	wants(true, true)
	w.operate("PUT", team+"/events", `{"on":true}`).wants(t, 409, "events")
	w.operate("GET", "/admin/switches", "").json(t, &rows)
	at := slices.Index(shoal.EverySwitch(), shoal.SwitchEvents)
	if rows[at].Name != "events" || rows[at].On || !rows[at].Fixed {
		t.Errorf("%+v", rows)
	}
}

// TestWakeSwitchedOff: traffic does not resume a sandbox of a team that has this off.
func TestWakeSwitchedOff(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base","autoPause":true,"autoResume":{"enabled":true}}`)
	w.call("POST", "/sandboxes/"+id+"/pause", "").wants(t, 204, "")
	wake := func() error {
		return w.server.wake(t.Context(), w.node, shoal.Wake{SandboxID: id, TeamID: shoal.DevTeamID, Timeout: time.Minute, TeamLimit: 5})
	}
	w.operate("PUT", "/admin/switches/auto-resume", `{"on":false}`).wants(t, 200, "")
	if err := wake(); !shoal.ErrSwitchedOff.Matches(err) || w.state(id) != "paused" {
		t.Errorf("%v, %v", err, w.state(id))
	}
	w.operate("PUT", "/admin/switches/auto-resume", `{"on":true}`).wants(t, 200, "")
	if err := wake(); err != nil || w.state(id) != "running" {
		t.Errorf("%v, %v", err, w.state(id))
	}
}

// TestSwitchIsKnown: an operation of an unknown switch keeps the API from starting.
func TestSwitchIsKnown(t *testing.T) {
	spec, err := gen.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	spec.Paths.Value("/sandboxes").Get.Extensions["x-shoal-switch"] = "luck"
	if _, err := newOperation(spec, "GET", "/sandboxes"); err == nil {
		t.Error("the operation was taken")
	}
}
