package store

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// MaxSessions is how many sessions a user may have; a further one ends the oldest.
const MaxSessions = 20

// Password returns the user of an address and the hash of their password. ErrNotFound if there is
// no such user, or one without a password.
func (s *Store) Password(ctx context.Context, email string) (u shoal.User, hash string, err error) {
	row, err := s.q.PasswordByEmail(ctx, email)
	return userOf(row.User), row.PasswordHash, lookup(err, "find a password")
}

// HasWayIn reports whether anybody has a password, or an identity with one of the issuers.
func (s *Store) HasWayIn(ctx context.Context, issuers []string) (bool, error) {
	n, err := s.q.CountPasswords(ctx)
	if err != nil {
		return false, fmt.Errorf("count passwords: %w", err)
	}
	for _, issuer := range issuers {
		more, err := s.q.CountIdentities(ctx, issuer)
		if err != nil {
			return false, fmt.Errorf("count identities: %w", err)
		}
		n += more
	}
	return n > 0, nil
}

// SetPassword gives a user a password, or another hash of it if it is the same.
func (s *Store) SetPassword(ctx context.Context, userID, hash string, at time.Time) error {
	err := s.q.SetPassword(ctx, sqlcgen.SetPasswordParams{UserID: userID, Hash: hash, ChangedAt: micros(at)})
	return lookup(err, "set the password of user "+userID)
}

// ChangePassword is SetPassword with another password, which ends all sessions of the user.
func (s *Store) ChangePassword(ctx context.Context, userID, hash string, at time.Time) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error { return changePassword(ctx, q, userID, hash, at) })
}

func changePassword(ctx context.Context, q *sqlcgen.Queries, userID, hash string, at time.Time) error {
	if err := q.DeleteSessions(ctx, userID); err != nil {
		return fmt.Errorf("end the sessions of user %s: %w", userID, err)
	}
	err := q.SetPassword(ctx, sqlcgen.SetPasswordParams{UserID: userID, Hash: hash, ChangedAt: micros(at)})
	return lookup(err, "change the password of user "+userID)
}

// Session is somebody signed in by a browser.
type Session struct {
	User      shoal.User
	CreatedAt time.Time
	UsedAt    time.Time
}

// AddSession stores the hash of a session's secret.
func (s *Store) AddSession(ctx context.Context, hash, userID string, at time.Time) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		n, err := q.LockUser(ctx, userID)
		if err := changed(n, err, ErrNotFound, "lock user "+userID); err != nil {
			return err
		}
		err = q.InsertSession(ctx, sqlcgen.InsertSessionParams{Hash: hash, UserID: userID, CreatedAt: micros(at),
			UsedAt: micros(at)})
		if err != nil {
			return fmt.Errorf("add a session of user %s: %w", userID, err)
		}
		err = q.DeleteSurplusSessions(ctx, sqlcgen.DeleteSurplusSessionsParams{UserID: userID, Offset: MaxSessions})
		return lookup(err, "end old sessions of user "+userID)
	})
}

// Session returns the session with this hash.
func (s *Store) Session(ctx context.Context, hash string) (Session, error) {
	row, err := s.q.SessionByHash(ctx, hash)
	return Session{User: userOf(row.User), CreatedAt: fromMicros(row.Session.CreatedAt),
		UsedAt: fromMicros(row.Session.UsedAt)}, lookup(err, "find a session")
}

// TouchSession stores when a session was last used.
func (s *Store) TouchSession(ctx context.Context, hash string, at time.Time) error {
	err := s.q.TouchSession(ctx, sqlcgen.TouchSessionParams{Hash: hash, UsedAt: micros(at)})
	return lookup(err, "note the use of a session")
}

// DeleteSession ends a session; it is fine if there is none.
func (s *Store) DeleteSession(ctx context.Context, hash string) error {
	return lookup(s.q.DeleteSession(ctx, hash), "end a session")
}

// DropSignIns removes sessions and links that have ended: sessions begun or last used before these
// times, and links that end before now.
func (s *Store) DropSignIns(ctx context.Context, begun, used, now time.Time) error {
	err := s.q.DeleteEndedSessions(ctx, sqlcgen.DeleteEndedSessionsParams{CreatedAt: micros(begun), UsedAt: micros(used)})
	if err != nil {
		return fmt.Errorf("remove sessions that have ended: %w", err)
	}
	return lookup(s.q.DeleteExpiredPasswordLinks(ctx, micros(now)), "remove links that have ended")
}

// AddPasswordLink stores the hash of a link by which a user sets a password, or by which the first
// person is made if the user's ID is "". It takes the place of an earlier one.
func (s *Store) AddPasswordLink(ctx context.Context, hash, userID string, expires time.Time) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if err := q.DeletePasswordLinks(ctx, userID); err != nil {
			return fmt.Errorf("remove an earlier link: %w", err)
		}
		err := q.InsertPasswordLink(ctx,
			sqlcgen.InsertPasswordLinkParams{Hash: hash, UserID: userID, ExpiresAt: micros(expires)})
		return lookup(err, "add a link")
	})
}

// PasswordLink returns whose password a link sets; the user is the zero one if it makes the first
// person. ErrNotFound if there is none that has not ended.
func (s *Store) PasswordLink(ctx context.Context, hash string, now time.Time) (shoal.User, error) {
	row, err := s.q.PasswordLink(ctx, sqlcgen.PasswordLinkParams{Hash: hash, ExpiresAt: micros(now)})
	return shoal.User{ID: row.UserID, Email: row.Email}, lookup(err, "find a link")
}

// UsePasswordLink ends a link and sets the password of its user, whom it returns. If the link makes
// the first person, that is first, who becomes an owner of the oldest team. ErrNotFound if the link
// has been used or has ended, ErrExists if somebody else has the address.
func (s *Store) UsePasswordLink(
	ctx context.Context, linkHash string, first shoal.User, passwordHash string, now time.Time,
) (userID string, err error) {
	err = s.inTx(ctx, func(q *sqlcgen.Queries) error {
		userID, err = q.TakePasswordLink(ctx, sqlcgen.TakePasswordLinkParams{Hash: linkHash, ExpiresAt: micros(now)})
		if err != nil {
			return lookup(err, "take a link")
		}
		if userID == "" {
			userID = first.ID
			if err := insertFirst(ctx, q, first); err != nil {
				return err
			}
		}
		return changePassword(ctx, q, userID, passwordHash, now)
	})
	return userID, err
}

func insertFirst(ctx context.Context, q *sqlcgen.Queries, u shoal.User) error {
	n, err := q.InsertUser(ctx, sqlcgen.InsertUserParams{ID: u.ID, Email: u.Email, CreatedAt: micros(u.CreatedAt)})
	if err := changed(n, err, ErrExists, "create user "+u.ID); err != nil {
		return err
	}
	teams, err := q.ListTeams(ctx)
	if err == nil && len(teams) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("find the first team: %w", err)
	}
	n, err = q.InsertMembership(ctx, sqlcgen.InsertMembershipParams{UserID: u.ID, TeamID: teams[0].Team.ID,
		Role: string(shoal.RoleOwner), CreatedAt: micros(u.CreatedAt)})
	if err := changed(n, err, ErrExists, "make user "+u.ID+" an owner"); err != nil {
		return err
	}
	return setDefault(ctx, q, teams[0].Team.ID, u.ID)
}
