package api

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"shoal/internal/auth"
	"shoal/internal/shares"
	"shoal/internal/shoal"
)

// number is a header that has to be one.
func (r reply) number(t *testing.T, name string) int {
	t.Helper()
	n, err := strconv.Atoi(r.header.Get(name))
	if err != nil {
		t.Fatalf("%s: %q in an answer with status %d", name, r.header.Get(name), r.status)
	}
	return n
}

func (r reply) limited(t *testing.T, code string) {
	t.Helper()
	r.wants(t, 429, "Rate limit exceeded")
	if got := r.field(t, "error_code"); got != code {
		t.Errorf("%v, want %s", got, code)
	}
	if wait := r.number(t, "Retry-After"); wait < 1 || r.header.Get("Should-Retry") != "" {
		t.Errorf("Retry-After %d, Should-Retry %q", wait, r.header.Get("Should-Retry"))
	}
}

// TestRequestRate: a team that asks too much is refused, and nobody else.
func TestRequestRate(t *testing.T) {
	w := newWorld(t)
	first := w.call("GET", "/sandboxes", "")
	if n := first.number(t, "RateLimit-Limit"); n != 20_000 || first.number(t, "RateLimit-Remaining") != n-1 || first.number(t, "RateLimit-Reset") != 1 {
		t.Errorf("%v", first.header)
	}
	w.limits(smallTeam, map[string]int64{"requests-per-second": 1})
	calls := 0
	var refused reply
	for refused = w.call("GET", "/sandboxes", "", "X-API-Key", smallKey); refused.status == 200; calls++ {
		if calls == 1000 {
			t.Fatal("the rate is not held")
		}
		refused = w.call("GET", "/sandboxes", "", "X-API-Key", smallKey)
	}
	refused.limited(t, "team.request_rate")
	if refused.number(t, "RateLimit-Limit") != 10 || refused.number(t, "RateLimit-Remaining") != 0 || calls < 10 {
		t.Errorf("after %d calls: %v", calls, refused.header)
	}
	w.call("GET", "/sandboxes", "").wants(t, 200, "")
	asOperator := w.call("GET", "/sandboxes", "", "X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken, "X-Team-ID", smallTeam)
	if asOperator.wants(t, 200, ""); asOperator.header.Get("RateLimit-Limit") != "" {
		t.Errorf("an operator is counted: %v", asOperator.header)
	}
	w.limits(smallTeam, map[string]int64{"requests-per-second": 1000})
	for range 3 { // the new rate fills it again
		if w.call("GET", "/sandboxes", "", "X-API-Key", smallKey).status == 200 {
			return
		}
	}
	t.Error("a raised limit does not act")
}

// TestRateFairness: while one team floods, another one's calls all succeed.
func TestRateFairness(t *testing.T) {
	w := newWorld(t)
	w.limits(smallTeam, map[string]int64{"requests-per-second": 1})
	done := make(chan struct{})
	var wg sync.WaitGroup
	refused := make([]int, 4)
	for i := range refused {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				req, _ := http.NewRequest("GET", w.url+"/sandboxes", nil)
				req.Header.Set("X-API-Key", smallKey)
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode == 429 {
					refused[i]++
				}
			}
		})
	}
	for range 100 {
		w.call("GET", "/v2/sandboxes", "").wants(t, 200, "")
	}
	close(done)
	wg.Wait()
	if sum := refused[0] + refused[1] + refused[2] + refused[3]; sum == 0 {
		t.Error("nobody was refused")
	}
}

// TestCreateRate: what starts sandboxes counts, each copy of a fork too, and nothing else does.
func TestCreateRate(t *testing.T) {
	w := newWorld(t)
	sandbox, paused := w.create(`{"templateID":"base"}`), w.create(`{"templateID":"base"}`)
	w.call("POST", "/sandboxes/"+paused+"/pause", "").wants(t, 204, "")
	const once = `{"templateID":"base","metadata":{"made":"once"}}`
	made := w.call("POST", "/v2/sandboxes", once, "Idempotency-Key", "once")
	if made.wants(t, 201, ""); made.number(t, "RateLimit-Limit") != 1000 || made.number(t, "RateLimit-Remaining") > 999 {
		t.Errorf("%v", made.header)
	}
	w.limits(shoal.DevTeamID, map[string]int64{"creates-per-second": 1})
	w.call("POST", "/sandboxes/"+sandbox+"/fork", `{"count":60}`).wants(t, 201, "") // of the 10 at once
	before := len(ids(t, w.call("GET", "/v2/sandboxes?limit=100", "")))

	for path, body := range map[string]string{"/sandboxes": `{"templateID":"base"}`, "/v2/sandboxes": `{"templateID":"base"}`,
		"/sandboxes/" + sandbox + "/fork": `{}`, "/sandboxes/" + paused + "/resume": `{}`,
		"/sandboxes/" + paused + "/connect": `{"timeout":60}`, "/v2/sandboxes/" + paused + "/connect": `{}`} {
		r := w.call("POST", path, body)
		if r.limited(t, "team.create_rate"); r.status == 429 && r.number(t, "Retry-After") < 30 {
			t.Errorf("%s: %v", path, r.header)
		}
	}
	if after := len(ids(t, w.call("GET", "/v2/sandboxes?limit=100", ""))); after != before || before < 62 {
		t.Errorf("%d sandboxes, before %d", after, before)
	}
	if again := w.call("POST", "/v2/sandboxes", once, "Idempotency-Key", "once"); again.status != 201 || again.field(t, "sandboxID") != made.field(t, "sandboxID") {
		t.Errorf("a repeat counts: %d %s", again.status, again.body)
	}
	w.call("POST", "/v2/sandboxes/"+sandbox+"/connect", `{}`).wants(t, 200, "")
	w.call("POST", "/v2/sandboxes", `{"templateID":"base","timeout":-1}`).wants(t, 400, "")
	w.call("POST", "/v2/sandboxes", `{"templateID":"base"}`, "X-API-Key", otherKey).wants(t, 201, "")
	w.call("POST", "/v2/sandboxes", `{"templateID":"base"}`, "X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken,
		"X-Team-ID", shoal.DevTeamID).wants(t, 201, "")
}

// TestStrangerRate: bad keys from an address are refused without asking the database, and those who
// were let in from there go on.
func TestStrangerRate(t *testing.T) {
	w := newWorld(t)
	w.server.rates.strangerRate = shares.Rate{PerSecond: 1e-6, Burst: 5}
	for i := range 10 { // a valid credential that is new does not count
		key, _, err := auth.NewKeys(w.store).Create(t.Context(), shoal.APIKey{TeamID: otherTeam, Name: strconv.Itoa(i)})
		w.must(err)
		w.call("GET", "/sandboxes", "", "X-API-Key", key).wants(t, 200, "")
	}
	w.call("GET", "/sandboxes", "").wants(t, 200, "")
	for i := range 5 {
		w.call("GET", "/sandboxes", "", "X-API-Key", "e2b_ff0"+strconv.Itoa(i)).wants(t, 401, "")
	}
	for _, headers := range [][]string{{"X-API-Key", "e2b_ffff"}, {"X-API-Key", ""}, {"X-API-Key", smallKey},
		{"X-API-Key", "", "X-Admin-Token", "guess", "X-Team-ID", smallTeam}, {"X-API-Key", "", "Authorization", "Bearer sk_e2b_ff"}} {
		r := w.call("GET", "/sandboxes", "", headers...)
		if r.limited(t, "request.source_rate"); r.header.Get("RateLimit-Limit") != "" || strings.Contains(r.body, "127.0.0.1") {
			t.Errorf("%v %s", r.header, r.body)
		}
	}
	w.auth.Forget()
	w.call("GET", "/sandboxes", "").wants(t, 200, "")
	w.call("GET", "/health", "", "X-API-Key", "").wants(t, 200, "")
	w.must(auth.NewKeys(w.store).Delete(t.Context(), otherTeam, "key-other"))
	w.call("GET", "/sandboxes", "", "X-API-Key", otherKey).limited(t, "request.source_rate")
}

// TestKnownNoMore: a credential that was valid and is so no longer counts as a stranger's.
func TestKnownNoMore(t *testing.T) {
	w := newWorld(t)
	w.server.rates.strangerRate = shares.Rate{PerSecond: 1e-6, Burst: 3}
	w.call("GET", "/sandboxes", "", "X-API-Key", otherKey).wants(t, 200, "")
	w.must(auth.NewKeys(w.store).Delete(t.Context(), otherTeam, "key-other"))
	w.auth.Forget()
	for range 4 { // the first is still taken for known
		w.call("GET", "/sandboxes", "", "X-API-Key", otherKey).wants(t, 401, "")
	}
	w.call("GET", "/sandboxes", "", "X-API-Key", otherKey).limited(t, "request.source_rate")
}

// TestUserRate: a user who acts for no team is counted too.
func TestUserRate(t *testing.T) {
	w := newWorld(t)
	r := w.call("GET", "/teams", "", w.member(w.trust(), "ann", otherTeam, shoal.RoleOwner)[:4]...)
	if r.wants(t, 200, ""); r.number(t, "RateLimit-Limit") != 20_000 {
		t.Errorf("%v", r.header)
	}
}
