package machine

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"shoal/internal/fills"
)

// answerFills answers the machine's other processes what stands for placeholders, until ctx ends.
func (m *Machine) answerFills(ctx context.Context) error {
	l, err := fills.Listen(m.cfg.RunDir)
	if err != nil {
		return err
	}
	server := fills.NewServer(m.orch)
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // whoever waits asks again
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("answer for placeholders: %w", err)
	}
	return nil
}
