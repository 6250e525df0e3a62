package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"shoal/internal/shares"
	"shoal/internal/shoal"
)

// audited is what the audit log says of a request, besides what the other log says of it.
type audited struct {
	operation  string
	writes     bool // it is told of whatever comes of it
	refused    bool // by its credentials or rights
	actor      shoal.Actor
	targetKind string
	targetID   string
	targetTeam string // that an operator acts on
}

// targetKinds are the kinds of what the parameters of paths name.
var targetKinds = map[string]string{"sandboxID": "sandbox", "templateID": "template", "alias": "template",
	"buildID": "build", "apiKeyID": "key", "accessTokenID": "token", "webhookID": "webhook",
	"deliveryID": "delivery", "serviceAccountID": "service", "teamID": "team", "nodeID": "node",
	"tierName": "tier", "switchName": "switch", "secretID": "secret"}

// targetsOf lists the parameters of a route that name things, the innermost last.
func targetsOf(route string) []string {
	var names []string
	for segment := range strings.SplitSeq(route, "/") {
		if name := strings.Trim(segment, "{}"); targetKinds[name] != "" {
			names = append(names, name)
		}
	}
	return names
}

// begin notes which operation a request asks for.
func (c *call) begin(op operation, r *http.Request) {
	c.route, c.operation = op.name, op.op.OperationID
	c.writes = op.access.audited || op.method != http.MethodGet ||
		strings.HasSuffix(op.access.right.String(), ":write")
	for _, name := range op.targets {
		c.targetKind, c.targetID = targetKinds[name], r.PathValue(name)
		if id, err := uuid.Parse(c.targetID); err == nil && name == "teamID" && op.access.right == shoal.Operate {
			c.targetTeam = id.String()
		}
	}
}

// beginUpload is begin for uploads, which the specification does not have.
func (c *call) beginUpload() {
	c.route, c.operation, c.writes, c.refused = "PUT "+uploadPath, "UploadTemplateFiles", true, true
}

// aimed notes what a request is about, where its path does not say so: above all what it has made.
func aimed(ctx context.Context, kind, id string) {
	c := callOf(ctx)
	c.targetKind, c.targetID = kind, id
}

// audit writes down what a request has changed or tried to, and that it was refused. Of nothing
// else, no body and no query comes into the log.
func (s *Server) audit(r *http.Request, c *call, status int) {
	if !c.writes && !c.refused {
		return
	}
	e := shoal.AuditEntry{At: c.start, TeamID: c.team, Actor: c.actor, Operation: c.operation,
		TargetKind: c.targetKind, TargetID: c.targetID, Address: addressOf(r), Agent: r.UserAgent(),
		RequestID: shoal.RequestID(r.Context()), Status: status}
	if e.Actor.Kind == "" {
		e.Actor.Kind = shoal.ActorNobody
	}
	if c.err != nil {
		e.ErrorCode = shoal.AsError(c.err).Code
	}
	if c.refused {
		s.trail.Refuse(e)
		return
	}
	if c.targetTeam != "" {
		e.TeamID = c.targetTeam
	}
	s.trail.Add(e)
}

// Deed is what a page beside the API did for a request, or refused.
type Deed struct {
	Operation            string
	Actor                shoal.Actor
	TargetKind, TargetID string
	Refused              bool
}

// Tell has the audit log tell of a request to such a page what it tells of operations.
func Tell(ctx context.Context, d Deed) {
	c := callOf(ctx)
	c.operation, c.actor, c.user, c.writes, c.refused = d.Operation, d.Actor, d.Actor.UserID, true, d.Refused
	c.targetKind, c.targetID = d.TargetKind, d.TargetID
}

// Fail notes by what such a request failed.
func Fail(ctx context.Context, err error) { callOf(ctx).err = err }

// addressOf is where a request came from. Behind a trusted proxy the endpoint has put the client's
// address there.
func addressOf(r *http.Request) string {
	from := shares.AddressOf(r)
	if !from.IsValid() {
		return ""
	}
	return from.String()
}
