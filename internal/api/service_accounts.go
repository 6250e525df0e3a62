package api

import (
	"context"
	"errors"
	"strings"

	"github.com/google/uuid"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// ListServiceAccounts lists the team's service accounts, oldest first.
func (s *Server) ListServiceAccounts(
	ctx context.Context, _ gen.ListServiceAccountsRequestObject,
) (gen.ListServiceAccountsResponseObject, error) {
	list, err := s.store.ServiceAccounts(ctx, callerOf(ctx).Team.ID)
	if err != nil {
		return nil, err
	}
	rows := make(gen.ListServiceAccounts200JSONResponse, len(list))
	for i, m := range list {
		rows[i] = wireServiceAccount(m)
	}
	return rows, nil
}

// CreateServiceAccount makes a service account, a developer unless another role is asked for.
func (s *Server) CreateServiceAccount(
	ctx context.Context, req gen.CreateServiceAccountRequestObject,
) (gen.CreateServiceAccountResponseObject, error) {
	role := shoal.RoleDeveloper
	if req.Body.Role != nil {
		role = shoal.Role(*req.Body.Role)
	}
	u, err := s.people.CreateService(ctx, callerOf(ctx).Team, req.Body.Name, role)
	if err != nil {
		return nil, err
	}
	aimed(ctx, "service", u.ID)
	return gen.CreateServiceAccount201JSONResponse(wireServiceAccount(shoal.Membership{User: u, Role: role})), nil
}

// UpdateServiceAccount gives a service account another role. If it was dismissed from the team, it
// is admitted again.
func (s *Server) UpdateServiceAccount(
	ctx context.Context, req gen.UpdateServiceAccountRequestObject,
) (gen.UpdateServiceAccountResponseObject, error) {
	m, err := s.serviceAccount(ctx, req.ServiceAccountID)
	if err != nil {
		return nil, err
	}
	was, team := m.Role, callerOf(ctx).Team.ID
	m.Role = shoal.Role(req.Body.Role)
	if was == "" {
		err = s.store.AddMember(ctx, team, m.User.ID, m.Role)
	} else {
		err = s.store.SetRole(ctx, team, m.User.ID, m.Role)
	}
	s.auth.Changed(ctx)
	if err != nil {
		return nil, err
	}
	return gen.UpdateServiceAccount200JSONResponse(wireServiceAccount(m)), nil
}

// DeleteServiceAccount removes a service account with its keys, at once in this process.
func (s *Server) DeleteServiceAccount(
	ctx context.Context, req gen.DeleteServiceAccountRequestObject,
) (gen.DeleteServiceAccountResponseObject, error) {
	m, err := s.serviceAccount(ctx, req.ServiceAccountID)
	if err != nil {
		return nil, err
	}
	err = s.store.DeleteServiceAccount(ctx, m.User.ServiceTeam, m.User.ID)
	s.auth.Changed(ctx)
	return gen.DeleteServiceAccount204Response{}, noServiceAccount(err)
}

// CreateServiceAccountKey makes a key by which a service account acts.
func (s *Server) CreateServiceAccountKey(
	ctx context.Context, req gen.CreateServiceAccountKeyRequestObject,
) (gen.CreateServiceAccountKeyResponseObject, error) {
	m, err := s.serviceAccount(ctx, req.ServiceAccountID)
	if err != nil {
		return nil, err
	}
	caller := callerOf(ctx)
	made, err := s.createKey(ctx, shoal.APIKey{TeamID: caller.Team.ID, CreatedBy: caller.User.ID, Owner: m.User.ID},
		*req.Body)
	return gen.CreateServiceAccountKey201JSONResponse(made), err
}

// serviceAccount finds one of the team's. What is no ID is not asked for: not every database takes
// it.
func (s *Server) serviceAccount(ctx context.Context, text string) (shoal.Membership, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return shoal.Membership{}, noServiceAccount(store.ErrNotFound)
	}
	m, err := s.store.ServiceAccount(ctx, callerOf(ctx).Team.ID, id.String())
	return m, noServiceAccount(err)
}

func noServiceAccount(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return shoal.ErrServiceAccountNotFound.New("The team has no service account of this ID")
	}
	return err
}

func wireServiceAccount(m shoal.Membership) gen.ServiceAccount {
	name, _, _ := strings.Cut(m.User.Email, "@")
	return gen.ServiceAccount{Id: m.User.ID, Name: name, Address: m.User.Email, Role: optional(string(m.Role)),
		CreatedAt: m.User.CreatedAt}
}
