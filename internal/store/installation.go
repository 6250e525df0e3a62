package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"shoal/internal/store/sqlcgen"
)

// Installation returns the ID of the installation whose database this is: the same for all
// processes on it, and for each backup of it. The first call makes it.
func (s *Store) Installation(ctx context.Context) (string, error) {
	// If another process makes one at once, the first stays.
	if err := s.q.InsertInstallation(ctx, sqlcgen.InsertInstallationParams{
		ID: rand.Text(), CreatedAt: micros(time.Now())}); err != nil {
		return "", fmt.Errorf("name the installation: %w", err)
	}
	id, err := s.q.InstallationID(ctx)
	return id, lookup(err, "read which installation this is")
}
