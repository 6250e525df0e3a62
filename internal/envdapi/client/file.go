package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"shoal/internal/envdapi"
)

// Put writes a file in the guest as root.
func (c *Client) Put(ctx context.Context, path string, content io.Reader) error {
	query := url.Values{"username": {"root"}, "path": {path}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+envdapi.FilesPath+"?"+query.Encode(),
		content)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	c.identify(req.Header, "")
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxText))
		return fmt.Errorf("write %s in the guest: status %d: %s", path, resp.StatusCode, text)
	}
	return nil
}
