package api

import (
	"reflect"
	"testing"

	"shoal/internal/shoal"
)

// operate calls as the operator.
func (w *world) operate(method, path, body string) reply {
	w.t.Helper()
	return w.call(method, path, body, "X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken)
}

// tier is a tier, or a team's limits, on the wire.
type tier struct {
	Name, Tier string
	Limits     map[string]int64
	Teams      int
	Own        []string
}

func TestAdminTiers(t *testing.T) {
	w := newWorld(t)
	get := func(r reply, status int) (got tier) {
		t.Helper()
		if r.wants(t, status, ""); r.status == status {
			r.json(t, &got)
		}
		return got
	}
	def := shoal.DefaultTeamLimits().Named()
	made := get(w.operate("POST", "/admin/tiers", `{"name":"free","limits":{"max-cpu":2,"max-hours":1}}`), 201)
	if made.Name != "free" || made.Limits["max-cpu"] != 2 || made.Limits["storage"] != def["storage"] || len(made.Limits) != len(def) {
		t.Errorf("%+v", made)
	}
	team := "/admin/teams/" + otherTeam + "/limits"
	if got := get(w.operate("GET", team, ""), 200); got.Tier != "default" || !reflect.DeepEqual(got.Limits, def) || len(got.Own) != 0 {
		t.Errorf("%+v", got)
	}
	long := func() reply {
		return w.call("POST", "/v2/sandboxes", `{"templateID":"base","timeout":7200}`, "X-API-Key", otherKey)
	}
	long().wants(t, 201, "")
	got := get(w.operate("PATCH", team, `{"tier":"free","limits":{"storage":7}}`), 200)
	if got.Tier != "free" || got.Limits["max-cpu"] != 2 || got.Limits["storage"] != 7 || !reflect.DeepEqual(got.Own, []string{"storage"}) {
		t.Errorf("%+v", got)
	}
	long().wants(t, 400, "Timeout cannot be greater than 1 hours")
	if got := get(w.operate("PATCH", "/admin/tiers/free", `{"limits":{"max-hours":3,"storage":9}}`), 200); got.Teams != 1 || got.Limits["max-cpu"] != 2 {
		t.Errorf("%+v", got)
	}
	long().wants(t, 201, "")
	if got := get(w.operate("PATCH", team, `{"reset":["storage"]}`), 200); got.Limits["storage"] != 9 || len(got.Own) != 0 {
		t.Errorf("%+v", got)
	}
	var all []tier
	if w.operate("GET", "/admin/tiers", "").json(t, &all); len(all) != 2 || all[0].Name != "default" || all[1].Name != "free" || all[1].Teams != 1 {
		t.Errorf("%+v", all)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", "/admin/tiers", `{"name":"free"}`, 409, "tier.exists"},
		{"POST", "/admin/tiers", `{"name":"No Name"}`, 400, "request.invalid"},
		{"POST", "/admin/tiers", `{"name":"x","limits":{"luck":1}}`, 400, "request.invalid"},
		{"POST", "/admin/tiers", `{"name":"x","limits":{"builds":-1}}`, 400, "request.invalid"},
		{"PATCH", "/admin/tiers/none", `{"limits":{"builds":1}}`, 404, "tier.not_found"},
		{"DELETE", "/admin/tiers/none", "", 404, "tier.not_found"},
		{"DELETE", "/admin/tiers/free", "", 409, "tier.in_use"},
		{"DELETE", "/admin/tiers/default", "", 409, "tier.in_use"},
		{"PATCH", team, `{"tier":"none"}`, 404, "tier.not_found"},
		{"PATCH", team, `{"reset":["luck"]}`, 400, "request.invalid"},
		{"GET", "/admin/teams/66666666-6666-4666-8666-666666666666/limits", "", 404, "auth.team_not_found"},
	} {
		r := w.operate(c.method, c.path, c.body)
		if r.wants(t, c.status, ""); r.status == c.status && r.field(t, "error_code") != c.code {
			t.Errorf("%s %s %s: %s", c.method, c.path, c.body, r.body)
		}
	}
	get(w.operate("PATCH", team, `{"tier":"default"}`), 200)
	if r := w.operate("DELETE", "/admin/tiers/free", ""); r.status != 204 {
		t.Errorf("%d %s", r.status, r.body)
	}
}
