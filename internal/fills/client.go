package fills

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"shoal/internal/shoal"
)

// Client asks the orchestrator of this machine. It is safe for concurrent use.
type Client struct {
	http *http.Client
}

var _ Filler = (*Client)(nil)

// NewClient returns a client of a socket, which need not be there yet.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{&http.Client{Timeout: answerTime, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}}}
}

// Fill implements Filler. Errors are those of the catalogue: ErrFillRefused and ErrFillUnavailable
// above all.
func (c *Client) Fill(
	ctx context.Context, sandboxID, domain string, wanted []shoal.Placeholder,
) (map[shoal.Placeholder]string, error) {
	body, err := json.Marshal(question{sandboxID, domain, wanted})
	if err != nil {
		return nil, fmt.Errorf("ask for values of placeholders: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://orchestrator"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask for values of placeholders: %w", err)
	}
	sent, err := c.http.Do(r)
	if err != nil {
		return nil, errUnavailable(err)
	}
	defer sent.Body.Close()
	var got answer
	if err := json.NewDecoder(io.LimitReader(sent.Body, maxAnswer)).Decode(&got); err != nil {
		return nil, errUnavailable(fmt.Errorf("read values of placeholders: status %d", sent.StatusCode))
	}
	if got.Code != "" {
		return nil, got.err()
	}
	if len(got.Values) != len(wanted) {
		return nil, errUnavailable(fmt.Errorf("%d values for %d placeholders", len(got.Values), len(wanted)))
	}
	values := make(map[shoal.Placeholder]string, len(wanted))
	for i, p := range wanted {
		values[p] = got.Values[i]
	}
	return values, nil
}

// err finds the entry of the catalogue, which another version may not have.
func (a answer) err() error {
	for _, k := range shoal.Catalogue {
		if k.Code == a.Code {
			return &shoal.Error{Kind: k, Message: a.Message, Detail: a.Detail}
		}
	}
	return shoal.ErrInternal.New("%s", a.Message)
}

func errUnavailable(err error) error {
	return shoal.ErrFillUnavailable.Wrap(err, "Headers cannot be filled in now")
}
