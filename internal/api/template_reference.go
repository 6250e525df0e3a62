package api

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// reference is a parsed [namespace/]name[:tag], in lower case (api.md §4.7).
type reference struct{ namespace, name, tag string }

var (
	nameForm = regexp.MustCompile(`^[a-z0-9_-]+$`)
	tagForm  = regexp.MustCompile(`^[a-z0-9_.-]+$`)
)

// What names and tags consist of, for those who tried something else.
const (
	nameRule = "a name has only letters, digits, - and _"
	tagRule  = "a tag has only letters, digits, -, _ and ."
)

// errTag means that the name is fine but its tag is not, and errName that the name is
// not. The words are E2B's (api.md §4.7).
var errTag, errName = errors.New("invalid tag"), errors.New("invalid template ID")

// parseReference checks the grammar. The error has no prefix, because callers
// name differently what they parse.
func parseReference(text string) (reference, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	var ref reference
	rest, tag, tagged := strings.Cut(text, ":")
	if namespace, name, spaced := strings.Cut(rest, "/"); spaced {
		if len(namespace) > maxName {
			return ref, fmt.Errorf("invalid namespace: it may have at most %d characters", maxName)
		}
		if !nameForm.MatchString(namespace) {
			return ref, fmt.Errorf("invalid namespace: %s", namespace)
		}
		ref.namespace, rest = namespace, name
	}
	switch {
	case rest == "":
		return ref, fmt.Errorf("%w: it is empty", errName)
	case len(rest) > maxName:
		return ref, fmt.Errorf("%w: a name may have at most %d characters", errName, maxName)
	case !nameForm.MatchString(rest):
		return ref, fmt.Errorf("%w: %s (%s)", errName, rest, nameRule)
	case tagged && tag == "":
		return ref, fmt.Errorf("%w: a tag is missing after ':'", errTag)
	case len(tag) > maxTag:
		return ref, fmt.Errorf("%w: a tag may have at most %d characters", errTag, maxTag)
	case tagged && !tagForm.MatchString(tag):
		return ref, fmt.Errorf("%w: %s (%s)", errTag, tag, tagRule)
	}
	ref.name, ref.tag = rest, tag
	return ref, nil
}

// invalidName turns parseReference's error into one for the name of something new, where
// the caller has given no ID.
func invalidName(err error) error {
	return shoal.ErrTemplateReference.New("Invalid name: %s",
		strings.TrimPrefix(err.Error(), errName.Error()+": "))
}

// String is the reference without its tag.
func (r reference) String() string {
	if r.namespace == "" {
		return r.name
	}
	return r.namespace + "/" + r.name
}

// resolve finds the template of a reference, whoever owns it: a name with a
// namespace only there; a bare one in the team's own, then in the global one,
// then as an ID.
func (s *Server) resolve(ctx context.Context, team shoal.Team, ref reference) (shoal.Template, error) {
	spaces := []string{ref.namespace}
	if ref.namespace == "" {
		spaces = []string{team.Slug, ""}
	}
	for _, space := range spaces {
		t, err := s.store.TemplateByAlias(ctx, shoal.Alias{Namespace: space, Name: ref.name})
		if !errors.Is(err, store.ErrNotFound) {
			return t, resolveError(err, ref)
		}
	}
	if ref.namespace != "" {
		return shoal.Template{}, templateNotFound(ref)
	}
	t, err := s.store.Template(ctx, ref.name)
	if errors.Is(err, store.ErrNotFound) {
		return t, templateNotFound(ref)
	}
	return t, resolveError(err, ref)
}

// resolveBuild finds what a sandbox of this reference starts from. A private
// template of another team is as unknown as one that never was.
func (s *Server) resolveBuild(
	ctx context.Context, team shoal.Team, text string,
) (shoal.Template, shoal.Build, error) {
	ref, err := parseReference(text)
	if err != nil {
		err = shoal.ErrTemplateReference.New("Invalid template reference: %s", err)
		return shoal.Template{}, shoal.Build{}, err
	}
	t, b, err := s.lookUpBuild(ctx, team, ref)
	if shoal.ErrTemplateNotFound.Matches(err) {
		err = s.orShipped(ctx, ref, err)
	}
	if errors.Is(err, shoal.ErrJustBuilt) { // after this request had looked
		return s.lookUpBuild(ctx, team, ref)
	}
	return t, b, err
}

// lookUpBuild is resolveBuild among the templates that there are.
func (s *Server) lookUpBuild(
	ctx context.Context, team shoal.Team, ref reference,
) (t shoal.Template, b shoal.Build, err error) {
	t, err = s.resolve(ctx, team, ref)
	if err == nil && !t.Public && t.TeamID != team.ID {
		err = templateNotFound(ref)
	}
	if err == nil {
		b, err = s.readyBuild(ctx, t, ref)
	}
	return t, b, err
}

// orShipped replaces notFound for a template that comes with Shoal and is not built yet:
// its build is under way, or could be.
func (s *Server) orShipped(ctx context.Context, ref reference, notFound error) error {
	if s.shipped == nil || ref.namespace != "" || ref.tag != "" && ref.tag != shoal.DefaultTag {
		return notFound
	}
	if err := s.shipped(ctx, ref.name); err != nil {
		return err
	}
	return notFound
}

// readyBuild finds the newest ready build of the reference's tag, which may also
// be a build's ID.
func (s *Server) readyBuild(ctx context.Context, t shoal.Template, ref reference) (shoal.Build, error) {
	tag := ref.tag
	if tag == "" {
		tag = shoal.DefaultTag
	}
	b, err := s.store.ReadyBuild(ctx, t.ID, tag)
	if errors.Is(err, store.ErrNotFound) && uuid.Validate(tag) == nil {
		b, err = s.store.Build(ctx, t.ID, tag)
		if err == nil && b.Status != shoal.BuildReady {
			err = store.ErrNotFound
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return b, s.notReady(ctx, t, ref, tag)
	}
	return b, resolveError(err, ref)
}

// notReady has one message, E2B's, for a tag that does not exist and one without a
// ready build; the cause tells them apart.
func (s *Server) notReady(ctx context.Context, t shoal.Template, ref reference, tag string) error {
	newest, err := s.store.NewestBuild(ctx, t.ID, tag)
	if errors.Is(err, store.ErrNotFound) && uuid.Validate(tag) == nil {
		newest, err = s.store.Build(ctx, t.ID, tag)
	}
	answer := shoal.ErrTemplateNotFound.New("tag '%s' does not exist for template '%s'", tag, ref)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return resolveError(err, ref)
	case newest.Status == shoal.BuildError:
		answer = answer.Because("the template has no ready build under this tag: the last one, %s, failed",
			newest.ID)
	default:
		answer = answer.Because("the template has no ready build under this tag: the last one, %s, is not ready yet (%s)",
			newest.ID, newest.Status)
	}
	return answer
}

// mcpGateway is the template that SDKs ask for when a sandbox is to have MCP servers.
const mcpGateway = "mcp-gateway"

func templateNotFound(ref reference) error {
	if ref.name == mcpGateway && ref.namespace == "" {
		return shoal.ErrTemplateNotFound.New(
			"template '%s' not found: the MCP gateway is not shipped with this version of Shoal", ref).
			Because("sandboxes with MCP servers need a template that is not part of Shoal")
	}
	return shoal.ErrTemplateNotFound.New("template '%s' not found", ref)
}

func resolveError(err error, ref reference) error {
	if err == nil {
		return nil
	}
	return shoal.ErrInternal.Wrap(err, "error resolving template '%s'", ref)
}
