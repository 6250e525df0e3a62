package api

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"shoal/internal/shoal"
)

// tagged makes a template with four tags: "live" has led to the first build, to the second and
// again to the first; "stable" leads to the second, "old" to the first, "next" to none that is
// ready.
func (w *world) tagged() (first, second registration) {
	w.t.Helper()
	first = w.built(`{"name":"web","tags":["live","old"]}`)
	second = w.built(`{"name":"web","tags":["live"]}`)
	w.register(`{"name":"web","tags":["next"]}`)
	w.call("POST", "/templates/tags", `{"target":"web:live","tags":["stable"]}`).wants(w.t, 201, "")
	w.call("POST", "/templates/tags", `{"target":"web:old","tags":["live"]}`).wants(w.t, 201, "")
	return first, second
}

type assignmentRow struct {
	AssignmentID    string `json:"assignmentId"`
	BuildID         string `json:"buildId"`
	AssignedAt      time.Time
	BuildCreatedAt  time.Time
	BuildFinishedAt *time.Time
}

func TestTagCountAndExists(t *testing.T) {
	w := newWorld(t)
	w.tagged()
	for _, name := range []string{"web", "WEB:live", "local-dev-team%2Fweb"} {
		if r := w.call("GET", "/templates/"+name+"/tags/count", ""); strings.TrimSpace(r.body) != `{"total":3}` {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	for tag, want := range map[string]string{
		"live":    `{"exists":true,"normalizedTag":"live"}`,
		" Stable": `{"exists":true,"normalizedTag":"stable"}`,
		"next":    `{"exists":false,"normalizedTag":"next"}`,
		"nothing": `{"exists":false,"normalizedTag":"nothing"}`,
	} {
		r := w.call("GET", "/templates/web/tags/exists?tag="+url.QueryEscape(tag), "")
		if r.status != 200 || strings.TrimSpace(r.body) != want {
			t.Errorf("%s: %d %s", tag, r.status, r.body)
		}
	}
	for _, query := range []string{"", "?tag=", "?tag=a%20b", "?tag=" + readyBuild} {
		w.call("GET", "/templates/web/tags/exists"+query, "").wants(t, 400, "")
	}
}

func TestTagRoutesOfOtherTemplates(t *testing.T) {
	w := newWorld(t)
	for _, route := range []string{"count", "exists?tag=x", "groups", "x/assignments"} {
		for name, status := range map[string]int{"nothing": 404, "otherpublic": 404, "other%2Fshared": 404, "otherprivate": 404, "a%20b": 400} {
			w.call("GET", "/templates/"+name+"/tags/"+route, "").wants(t, status, "")
		}
		w.call("GET", "/templates/base/tags/"+route, "", "X-API-Key", "").wants(t, 401, "")
		w.call("GET", "/templates/base/tags/"+route, "").wants(t, 200, "")
		w.call("POST", "/templates/base/tags/"+strings.TrimSuffix(route, "?tag=x"), "").wants(t, 405, "")
	}
}

// TestTagAssignments: a tag that has moved keeps its history, and pages show each event once.
func TestTagAssignments(t *testing.T) {
	w := newWorld(t)
	first, second := w.tagged()
	var builds []string
	seen, cursor := map[string]bool{}, ""
	for range 9 {
		r := w.call("GET", "/templates/web/tags/LIVE/assignments?limit=1&cursor="+cursor, "")
		r.wants(t, 200, "")
		var page struct {
			Data       []assignmentRow
			NextCursor *string
		}
		r.json(t, &page)
		if len(page.Data) != 1 || !strings.Contains(r.body, `"nextCursor":`) {
			t.Fatal(r.body)
		}
		a := page.Data[0]
		if uuid.Validate(a.AssignmentID) != nil || seen[a.AssignmentID] || a.AssignedAt.IsZero() ||
			a.BuildCreatedAt.IsZero() || a.BuildFinishedAt == nil {
			t.Errorf("%+v", a)
		}
		seen[a.AssignmentID] = true
		builds = append(builds, a.BuildID)
		if page.NextCursor == nil {
			break
		}
		cursor = *page.NextCursor
	}
	if want := []string{first.BuildID, second.BuildID, first.BuildID}; !slices.Equal(builds, want) {
		t.Errorf("%v, want %v", builds, want)
	}
	for _, tag := range []string{"next", "nothing"} {
		r := w.call("GET", "/templates/web/tags/"+tag+"/assignments", "")
		if r.status != 200 || strings.TrimSpace(r.body) != `{"data":[],"nextCursor":null}` {
			t.Errorf("%s: %d %s", tag, r.status, r.body)
		}
	}
	for _, query := range []string{"cursor=x", "limit=0", "limit=101", "limit=x"} {
		w.call("GET", "/templates/web/tags/live/assignments?"+query, "").wants(t, 400, "")
	}
	w.call("GET", "/templates/web/tags/a%20b/assignments", "").wants(t, 400, "Invalid tag")
}

// groups returns "tag=number of assignments", with a + if there are more, for each tag.
func (w *world) groups(query string) (list []string, next string) {
	w.t.Helper()
	r := w.call("GET", "/templates/web/tags/groups?"+query, "")
	r.wants(w.t, 200, "")
	var page struct {
		Tags []struct {
			Tag         string
			Assignments []assignmentRow
			HasMore     bool
		}
		NextCursor *string
	}
	r.json(w.t, &page)
	for _, g := range page.Tags {
		text := fmt.Sprintf("%s=%d", g.Tag, len(g.Assignments))
		if g.HasMore {
			text += "+"
		}
		list = append(list, text)
	}
	if page.NextCursor != nil {
		next = *page.NextCursor
	}
	return list, next
}

func TestTagGroups(t *testing.T) {
	w := newWorld(t)
	w.tagged()
	for query, want := range map[string]string{
		"":                                    "live=3 stable=1 old=1",
		"sort=latest_asc":                     "old=1 stable=1 live=3",
		"sort=name_asc&assignmentLimit=2":     "live=2+ old=1 stable=1",
		"sort=name_desc&assignmentLimit=3":    "stable=1 old=1 live=3",
		"search=%20L":                         "live=3 stable=1 old=1",
		"search=AB&sort=name_asc":             "stable=1",
		"search=nothing":                      "",
		"tagsLimit=100&assignmentLimit=1":     "live=1+ stable=1 old=1",
		"tagsLimit=2&assignmentLimit=1":       "live=1+ stable=1",
		"tagsLimit=1&sort=name_desc&search=l": "stable=1",
	} {
		if got, _ := w.groups(query); strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
	for _, order := range []string{"latest_desc", "latest_asc", "name_asc", "name_desc"} {
		whole, _ := w.groups("sort=" + order)
		var paged []string
		cursor := ""
		for range 9 {
			page, next := w.groups("tagsLimit=1&sort=" + order + "&tagsCursor=" + cursor)
			paged = append(paged, page...)
			if cursor = next; next == "" {
				break
			}
		}
		if !slices.Equal(paged, whole) {
			t.Errorf("%s: pages %v, whole %v", order, paged, whole)
		}
	}
	_, next := w.groups("tagsLimit=1")
	for _, query := range []string{"tagsCursor=x", "tagsCursor=e30", "sort=name_asc&tagsCursor=" + next, "sort=random",
		"tagsLimit=0", "tagsLimit=101", "assignmentLimit=0", "assignmentLimit=101"} {
		w.call("GET", "/templates/web/tags/groups?"+query, "").wants(t, 400, "")
	}
	if r := w.call("GET", "/templates/unbuilt/tags/groups", ""); strings.TrimSpace(r.body) != `{"nextCursor":null,"tags":[]}` {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// TestDefaultTemplates: every team sees what comes with the installation, without how others
// use it.
func TestDefaultTemplates(t *testing.T) {
	w := newWorld(t)
	w.create(`{"templateID":"base"}`)
	w.must(w.store.CountSpawns(t.Context(), "base", 3, created))
	w.template("aaa", shoal.DevTeamID, false, shoal.Alias{Name: "desktop"}, makeBuild("aaa", "cccccccc-0000-4000-8000-000000000001", created))
	w.template("bbb", otherTeam, true, shoal.Alias{Name: "gradio-developer"}, makeBuild("bbb", "cccccccc-0000-4000-8000-000000000002", created))
	list := func(key string) (rows []map[string]any) {
		r := w.call("GET", "/default-templates", "", "X-API-Key", key)
		r.wants(t, 200, "")
		r.json(t, &rows)
		return rows
	}
	mine, theirs := list(shoal.DevAPIKey), list(otherKey)
	if len(mine) != 2 || mine[0]["templateID"] != "aaa" || mine[1]["templateID"] != "base" ||
		mine[1]["spawnCount"] != 3.0 || mine[1]["buildCount"] != 3.0 || mine[1]["isDefault"] != true || mine[1]["lastSpawnedAt"] == nil {
		t.Errorf("the operator's: %v", mine)
	}
	if len(theirs) != 1 || theirs[0]["templateID"] != "base" || theirs[0]["buildID"] != readyBuild || theirs[0]["buildStatus"] != "error" ||
		theirs[0]["spawnCount"] != 0.0 || theirs[0]["buildCount"] != 0.0 || theirs[0]["lastSpawnedAt"] != nil {
		t.Errorf("another team's: %v", theirs)
	}
	for _, row := range mine {
		if about, _ := row["description"].(string); about == "" {
			t.Errorf("nothing says what it is for: %v", row)
		}
	}
	w.call("GET", "/default-templates", "", "X-API-Key", "").wants(t, 401, "")
	for _, row := range w.templateRows() {
		_, marked := row["isDefault"]
		if _, described := row["description"]; described != marked {
			t.Errorf("only a default template has a description: %v", row)
		}
		if want := row["templateID"] == "base" || row["templateID"] == "aaa"; marked != want {
			t.Errorf("%v", row)
		}
	}
}

func (w *world) templateRows() (rows []map[string]any) {
	w.t.Helper()
	w.call("GET", "/templates", "").json(w.t, &rows)
	return rows
}
