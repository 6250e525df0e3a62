package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"shoal/internal/envdapi"
)

// Prepare has the daemon do what an init system would do for what has been installed. It
// returns names below /run that belong to the template; a daemon of an earlier version, as
// templates may have it, knows of none.
func (c *Client) Prepare(ctx context.Context) ([]string, error) {
	resp, err := c.ask(ctx, http.MethodPost, envdapi.PreparePath)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, nil
	default:
		return nil, refuse("status %d to %s", resp.StatusCode, envdapi.PreparePath)
	}
	var prepared envdapi.Prepared
	if err := json.NewDecoder(resp.Body).Decode(&prepared); err != nil {
		return nil, shortened(fmt.Errorf("decode envd's answer: %w", err))
	}
	return prepared.Run, nil
}
