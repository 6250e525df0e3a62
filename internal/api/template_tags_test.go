package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

// tagsOf returns the build of each tag.
func (w *world) tagsOf(name string) map[string]string {
	w.t.Helper()
	r := w.call("GET", "/templates/"+name+"/tags", "")
	r.wants(w.t, 200, "")
	var rows []struct{ Tag, BuildID string }
	r.json(w.t, &rows)
	tags := map[string]string{}
	for _, row := range rows {
		tags[row.Tag] = row.BuildID
	}
	return tags
}

func TestAssignTags(t *testing.T) {
	w := newWorld(t)
	first := w.built(`{"name":"web","tags":["v1","default"]}`)
	second := w.built(`{"name":"web:v2"}`)
	waiting := w.register(`{"name":"web:v3"}`)
	for _, c := range []struct {
		target, tags string
		build        string
		answer       []string
	}{
		{"web", `["latest"]`, first.BuildID, []string{"latest"}},
		{"Local-Dev-Team/Web:V2", `["Stable"," latest ","stable"]`, second.BuildID, []string{"stable", "latest"}},
		{"web:" + first.BuildID, `["pinned"]`, first.BuildID, []string{"pinned"}},
		{first.TemplateID + ":v2", `["default"]`, second.BuildID, []string{"default"}},
		{"web:default", `["x.y-z_1"]`, second.BuildID, []string{"x.y-z_1"}},
		{"web:v1", `["default"]`, first.BuildID, []string{"default"}}, // the newest assignment wins
	} {
		r := w.call("POST", "/templates/tags", fmt.Sprintf(`{"target":%q,"tags":%s}`, c.target, c.tags))
		r.wants(t, 201, "")
		var answer struct {
			Tags    []string
			BuildID string
		}
		r.json(t, &answer)
		if answer.BuildID != c.build || !slices.Equal(answer.Tags, c.answer) {
			t.Errorf("%s: %s", c.target, r.body)
		}
	}
	want := map[string]string{"v1": first.BuildID, "v2": second.BuildID, "v3": waiting.BuildID, "latest": second.BuildID, "stable": second.BuildID,
		"pinned": first.BuildID, "default": first.BuildID, "x.y-z_1": second.BuildID}
	if got := w.tagsOf("web"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, c := range []struct {
		body    string
		status  int
		message string
	}{
		{`{"target":"web","tags":[]}`, 400, "At least one tag is required"},
		{`{"target":"web"}`, 400, validationPrefix},
		{`{"tags":["x"]}`, 400, validationPrefix},
		{`{"target":"web","tags":[""]}`, 400, "Invalid tag"},
		{`{"target":"web","tags":["a b"]}`, 400, "Invalid tag"},
		{`{"target":"web","tags":["` + readyBuild + `"]}`, 400, "Invalid tag"},
		{`{"target":":invalid-tag","tags":["x"]}`, 400, "Invalid target"},
		{`{"target":"web:","tags":["x"]}`, 400, "Invalid target"},
		{`{"target":"web:v3","tags":["x"]}`, 404, "Template 'web' with tag 'v3' not found"}, // not ready
		{`{"target":"web:v9","tags":["x"]}`, 404, "Template 'web' with tag 'v9' not found"},
		{`{"target":"web:` + readyBuild + `","tags":["x"]}`, 404, "Template 'web' with tag"}, // another template's
		{`{"target":"nothing","tags":["x"]}`, 404, "Template 'nothing' with tag 'default' not found"},
		{`{"target":"otherpublic","tags":["x"]}`, 403, "You don't have access"},
		{`{"target":"web","tags":[` + strings.TrimSuffix(manyTags(101), ",") + `]}`, 400, "At most 100 tags"},
	} {
		w.call("POST", "/templates/tags", c.body).wants(t, c.status, c.message)
	}
	if got := w.tagsOf("web"); len(got) != len(want) {
		t.Errorf("a refusal changed the tags: %v", got)
	}
}

func manyTags(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"t%d",`, i)
	}
	return b.String()
}

func TestRemoveTags(t *testing.T) {
	w := newWorld(t)
	w.built(`{"name":"web","tags":["v1","v2","v3","default"]}`)
	w.call("DELETE", "/templates/tags", `{"name":"web","tags":["V1","never","v2"]}`).wants(t, 204, "")
	if got := w.tagsOf("web"); len(got) != 2 || got["v3"] == "" || got["default"] == "" {
		t.Errorf("%v", got)
	}
	for _, c := range []struct {
		body    string
		status  int
		message string
	}{
		{``, 400, validationPrefix},
		{`{"name":"web","tags":[]}`, 400, "At least one tag is required"},
		{`{"name":"web","tags":["v3","default"]}`, 400, "Cannot delete the 'default' tag"},
		{`{"name":"web:v3","tags":["v3"]}`, 400, "Template name should not contain a tag, use the 'tags' field instead"},
		{`{"name":"web:","tags":["v3"]}`, 400, "Template name should not contain a tag"},
		{`{"name":"a b","tags":["v3"]}`, 400, "Invalid name"},
		{`{"name":"web","tags":["a b"]}`, 400, "Invalid tag"},
		{`{"name":"nothing","tags":["v3"]}`, 404, "template 'nothing' not found"},
		{`{"name":"otherpublic","tags":["v3"]}`, 403, "You don't have access"},
	} {
		w.call("DELETE", "/templates/tags", c.body, "Content-Type", "application/json").wants(t, c.status, c.message)
	}
	if got := w.tagsOf("web"); len(got) != 2 {
		t.Errorf("a refusal changed the tags: %v", got)
	}
	w.must(w.store.SetStanding(t.Context(), shoal.Team{ID: shoal.DevTeamID, Blocked: true}))
	w.auth.Forget()
	w.call("DELETE", "/templates/tags", `{"name":"web","tags":["v3"]}`).wants(t, 204, "") // clean-up
	w.call("POST", "/templates/tags", `{"target":"web","tags":["v3"]}`).wants(t, 403, "team is blocked")
}
