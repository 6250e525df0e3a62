package api

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// jsEncoding encodes a metadata filter as the JavaScript SDK does.
func jsEncoding(key, value string) string {
	enc := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	return url.QueryEscape(url.Values{enc(key): {enc(value)}}.Encode())
}

func TestListByMetadata(t *testing.T) {
	w := newWorld(t)
	put := func(id string, metadata map[string]string) {
		w.put(id, func(sb *shoal.Sandbox) { sb.Metadata = metadata })
	}
	put("iplain", map[string]string{"user": "abc", "app": "prod", "more": "x"})
	put("iodd", map[string]string{"näme & co": "100% a+b=c d&e"})
	put("inone", nil)
	cases := map[string][]string{
		url.QueryEscape("user=abc&app=prod"):      {"iplain"},
		"user=abc%26app=prod":                     {"iplain"},
		url.QueryEscape("user=abc&app=test"):      {},
		url.QueryEscape("user=ab"):                {},
		url.QueryEscape("absent="):                {},
		jsEncoding("näme & co", "100% a+b=c d&e"): {"iodd"},
		jsEncoding("user", "abc"):                 {"iplain"},
		"":                                        {"inone", "iodd", "iplain"},
	}
	for query, want := range cases {
		for _, path := range []string{"/sandboxes", "/v2/sandboxes"} {
			t.Run(path+"?"+query, func(t *testing.T) {
				r := w.call("GET", path+"?metadata="+query, "")
				r.wants(t, 200, "")
				if got := ids(t, r); !sameSet(got, want) {
					t.Errorf("%v, want %v", got, want)
				}
			})
		}
	}
	for _, query := range []string{"novalue", "a%3Db%26c", "%25zz%3D1", "a%3D%2525zz"} {
		for _, path := range []string{"/sandboxes", "/v2/sandboxes"} {
			w.call("GET", path+"?metadata="+query, "").wants(t, 400, "Error parsing metadata: ")
		}
	}
}

func ids(t *testing.T, r reply) []string {
	t.Helper()
	var rows []struct{ SandboxID string }
	r.json(t, &rows)
	list := []string{}
	for _, row := range rows {
		list = append(list, row.SandboxID)
	}
	return list
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func TestListPages(t *testing.T) {
	w := newWorld(t)
	// Pairs share a start, so that the ID decides; one of them is paused.
	for i := range 5 {
		w.put(fmt.Sprint("i", i), func(sb *shoal.Sandbox) {
			sb.StartedAt = created.Add(time.Duration(i/2) * time.Second)
			if i == 3 {
				sb.State = shoal.StatePaused
			}
		})
	}
	newest := []string{"i4", "i2", "i3", "i0", "i1"}
	oldest := slices.Clone(newest)
	slices.Reverse(oldest)
	for order, want := range map[string][]string{"": newest, "desc": newest, "asc": oldest} {
		for _, limit := range []int{1, 2, 3, 5, 100} {
			t.Run(fmt.Sprintf("%s by %d", order, limit), func(t *testing.T) {
				var got []string
				token, pages := "", 0
				for {
					q := url.Values{"limit": {fmt.Sprint(limit)}}
					if order != "" {
						q.Set("order", order)
					}
					if token != "" {
						q.Set("nextToken", token)
					}
					r := w.call("GET", "/v2/sandboxes?"+q.Encode(), "")
					r.wants(t, 200, "")
					if r.header.Get("X-Total-Running") != "4" {
						t.Errorf("total %q", r.header.Get("X-Total-Running"))
					}
					got = append(got, ids(t, r)...)
					pages++
					if token = r.header.Get("X-Next-Token"); token == "" || pages > 9 {
						break
					}
					// What starts later does not shift the pages.
					w.put("ilate", func(sb *shoal.Sandbox) { sb.TeamID = otherTeam })
				}
				if !slices.Equal(got, want) || pages != (5+limit-1)/limit {
					t.Errorf("%v in %d pages", got, pages)
				}
			})
		}
	}
}

func TestListFilters(t *testing.T) {
	w := newWorld(t)
	w.put("irun", func(sb *shoal.Sandbox) { sb.StartedAt = created })
	w.put("ipaused", func(sb *shoal.Sandbox) { sb.State, sb.StartedAt = shoal.StatePaused, created.Add(time.Second) })
	w.put("ipausing", func(sb *shoal.Sandbox) { sb.State, sb.StartedAt = shoal.StatePausing, created.Add(2*time.Second) })
	w.put("iother", func(sb *shoal.Sandbox) { sb.TemplateID, sb.StartedAt = "ancient", created.Add(3*time.Second) })
	cases := map[string]struct {
		want  []string
		total string
	}{
		"":                       {[]string{"iother", "ipausing", "ipaused", "irun"}, "2"},
		"state=running":          {[]string{"iother", "irun"}, "2"},
		"state=paused":           {[]string{"ipausing", "ipaused"}, ""},
		"state=running,paused":   {[]string{"iother", "ipausing", "ipaused", "irun"}, "2"},
		"state=running%2Cpaused": {[]string{"iother", "ipausing", "ipaused", "irun"}, "2"},
		"startedAfter=" + url.QueryEscape(created.Add(time.Second).Format(time.RFC3339Nano)): {[]string{"iother", "ipausing", "ipaused"}, "1"},
		"startedAfter=1970-01-01T00:00:00.000Z&order=asc":                                    {[]string{"irun", "ipaused", "ipausing", "iother"}, "2"},
		"template=base":                 {[]string{"ipausing", "ipaused", "irun"}, "1"},
		"template=old":                  {[]string{"iother"}, "1"},
		"template=local-dev-team%2Fold": {[]string{"iother"}, "1"},
		"template=ancient":              {[]string{"iother"}, "1"},
		"template=":                     {[]string{"iother", "ipausing", "ipaused", "irun"}, "2"},
		"template=unknown":              {[]string{}, "0"},
		"state=paused&template=ancient": {[]string{}, ""},
	}
	for query, c := range cases {
		t.Run(query, func(t *testing.T) {
			r := w.call("GET", "/v2/sandboxes?"+query, "")
			r.wants(t, 200, "")
			if got := ids(t, r); !slices.Equal(got, c.want) || r.header.Get("X-Total-Running") != c.total {
				t.Errorf("%v, total %q", got, r.header.Get("X-Total-Running"))
			}
		})
	}
	token := func(c cursor, asc bool) string { return url.QueryEscape(encodeCursor(c, asc)) }
	bad := map[string]string{
		"state=dead": validationPrefix, "order=up": validationPrefix, "limit=0": validationPrefix, "limit=101": validationPrefix,
		"limit=x": validationPrefix, "startedAfter=yesterday": validationPrefix,
		"template=base:v1": "Invalid template: tags are not supported here because sandboxes are not tag-scoped", "template=a%20b": "Invalid template: ",
		"nextToken=%21": "Invalid next token", "nextToken=AAAA": "Invalid next token",
		"order=asc&nextToken=" + token(cursor{created, "i1"}, false): "Invalid next token",
		"nextToken=" + token(cursor{created, "i1"}, true):            "Invalid next token",
	}
	for query, message := range bad {
		w.call("GET", "/v2/sandboxes?"+query, "").wants(t, 400, message)
	}
}
