package api

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"shoal/internal/api/gen"
	"shoal/internal/api/reference"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// What dashboards ask about tags (clients-2.63.md §4.1). It is about ready builds only, and
// another team's template is as unknown as one that never was.

const (
	defaultTagGroups      = 25 // tags of a page
	defaultTagAssignments = 6  // of each tag in a page of tags
	defaultAssignmentPage = 50
)

// CountTemplateTags counts the tags that lead to a ready build.
func (s *Server) CountTemplateTags(
	ctx context.Context, req gen.CountTemplateTagsRequestObject,
) (gen.CountTemplateTagsResponseObject, error) {
	t, err := s.ownTemplate(ctx, req.TemplateID)
	if err != nil {
		return nil, err
	}
	tags, err := s.store.ReadyTags(ctx, t.ID)
	return gen.CountTemplateTags200JSONResponse{Total: len(tags)}, err
}

// TemplateTagExists reports whether a tag leads to a ready build.
func (s *Server) TemplateTagExists(
	ctx context.Context, req gen.TemplateTagExistsRequestObject,
) (gen.TemplateTagExistsResponseObject, error) {
	tag, err := parseTag(req.Params.Tag)
	if err != nil {
		return nil, err
	}
	t, err := s.ownTemplate(ctx, req.TemplateID)
	if err != nil {
		return nil, err
	}
	found, err := s.store.ReadyAssignments(ctx, t.ID, tag, store.Position{}, 1)
	return gen.TemplateTagExists200JSONResponse{Exists: len(found) > 0, NormalizedTag: tag}, err
}

// ListTemplateTagGroups lists tags in pages, each with its newest assignments.
func (s *Server) ListTemplateTagGroups(
	ctx context.Context, req gen.ListTemplateTagGroupsRequestObject,
) (gen.ListTemplateTagGroupsResponseObject, error) {
	p := req.Params
	order := tagOrder(gen.LatestDesc)
	if p.Sort != nil {
		order = tagOrder(*p.Sort)
	}
	after, err := order.decode(p.TagsCursor)
	if err != nil {
		return nil, err
	}
	t, err := s.ownTemplate(ctx, req.TemplateID)
	if err != nil {
		return nil, err
	}
	tags, err := s.store.ReadyTags(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	search := strings.ToLower(strings.TrimSpace(deref(p.Search)))
	tags = slices.DeleteFunc(tags, func(tag store.ReadyTag) bool {
		return !strings.Contains(tag.Tag, search) || after != nil && order.compare(tag, *after) <= 0
	})
	slices.SortFunc(tags, order.compare)
	page := gen.ListTemplateTagGroups200JSONResponse{Tags: []gen.TemplateTagGroup{}}
	if size := sizeOr(p.TagsLimit, defaultTagGroups); len(tags) > size {
		tags = tags[:size]
		page.NextCursor = order.encode(tags[size-1])
	}
	for _, tag := range tags {
		group := gen.TemplateTagGroup{Tag: tag.Tag}
		group.Assignments, group.HasMore, err = s.assignments(ctx, t.ID, tag.Tag, store.Position{},
			sizeOr(p.AssignmentLimit, defaultTagAssignments))
		if err != nil {
			return nil, err
		}
		page.Tags = append(page.Tags, group)
	}
	return page, nil
}

// ListTemplateTagAssignments lists the assignments of one tag in pages.
func (s *Server) ListTemplateTagAssignments(
	ctx context.Context, req gen.ListTemplateTagAssignmentsRequestObject,
) (gen.ListTemplateTagAssignmentsResponseObject, error) {
	tag, err := parseTag(req.Tag)
	if err != nil {
		return nil, err
	}
	after, err := storePosition(req.Params.Cursor)
	if err != nil {
		return nil, err
	}
	t, err := s.ownTemplate(ctx, req.TemplateID)
	if err != nil {
		return nil, err
	}
	list, more, err := s.assignments(ctx, t.ID, tag, after, sizeOr(req.Params.Limit, defaultAssignmentPage))
	if err != nil {
		return nil, err
	}
	page := gen.ListTemplateTagAssignments200JSONResponse{Data: list}
	if more {
		last := list[len(list)-1]
		page.NextCursor = optional(encodeCursor(cursor{at: last.AssignedAt, id: last.BuildId}, false))
	}
	return page, nil
}

// ownTemplate finds one of the team's templates by its name or ID. A tag is ignored.
func (s *Server) ownTemplate(ctx context.Context, text string) (shoal.Template, error) {
	ref, err := reference.Parse(text)
	if err != nil {
		return shoal.Template{}, shoal.ErrTemplateReference.New("Invalid template reference: %s", err)
	}
	t, err := s.resolve(ctx, callerOf(ctx).Team, ref)
	if err == nil && t.TeamID != callerOf(ctx).Team.ID {
		err = templateNotFound(ref)
	}
	return t, err
}

// assignments returns one page, and whether more follow.
func (s *Server) assignments(
	ctx context.Context, templateID, tag string, after store.Position, size int,
) (rows []gen.TagAssignment, more bool, err error) {
	list, err := s.store.ReadyAssignments(ctx, templateID, tag, after, size+1)
	if err != nil {
		return nil, false, err
	}
	if len(list) > size {
		list, more = list[:size], true
	}
	rows = make([]gen.TagAssignment, len(list))
	for i, a := range list {
		rows[i] = gen.TagAssignment{AssignmentId: assignmentID(templateID, tag, a), BuildId: a.BuildID,
			AssignedAt: a.AssignedAt, BuildCreatedAt: a.BuildCreatedAt,
			BuildFinishedAt: optionalTime(a.BuildFinishedAt)}
	}
	return rows, more, nil
}

// assignmentSpace is the namespace of the IDs of assignments.
var assignmentSpace = uuid.MustParse("5b0f6d0e-2c51-4c0b-9a5a-6d5e1f4a7c83")

// assignmentID makes an ID of what tells an assignment from all others.
func assignmentID(templateID, tag string, a store.Assignment) string {
	name := fmt.Sprintf("%s:%s:%s:%d", templateID, tag, a.BuildID, a.AssignedAt.UnixMicro())
	return uuid.NewSHA1(assignmentSpace, []byte(name)).String()
}

func sizeOr(limit *int32, absent int) int {
	if limit == nil {
		return absent
	}
	return int(*limit)
}

// tagOrder is the order of a list of tags.
type tagOrder gen.ListTemplateTagGroupsParamsSort

// compare orders by time and then by name, or by name alone.
func (o tagOrder) compare(a, b store.ReadyTag) int {
	byName := strings.Compare(a.Tag, b.Tag)
	switch gen.ListTemplateTagGroupsParamsSort(o) {
	case gen.NameAsc:
		return byName
	case gen.NameDesc:
		return -byName
	case gen.LatestAsc:
		return cmp.Or(a.Latest.Compare(b.Latest), byName)
	default:
		return cmp.Or(b.Latest.Compare(a.Latest), byName)
	}
}

// tagCursor is the last tag of a page, in the order that it is good for.
type tagCursor struct {
	Order  tagOrder  `json:"order"`
	Tag    string    `json:"tag"`
	Latest time.Time `json:"latest"`
}

func (o tagOrder) encode(last store.ReadyTag) *string {
	text, _ := json.Marshal(tagCursor{Order: o, Tag: last.Tag, Latest: last.Latest}) // always encodes
	token := base64.RawURLEncoding.EncodeToString(text)
	return &token
}

// decode is the reverse; nil is the start of the list.
func (o tagOrder) decode(token *string) (*store.ReadyTag, error) {
	if deref(token) == "" {
		return nil, nil
	}
	var c tagCursor
	text, err := base64.RawURLEncoding.DecodeString(*token)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil || c.Order != o || c.Tag == "" {
		return nil, shoal.ErrBadRequest.New("Invalid tags cursor")
	}
	return &store.ReadyTag{Tag: c.Tag, Latest: c.Latest}, nil
}
