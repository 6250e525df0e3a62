package proxy

import (
	"context"
	"net/http"
)

// absentSandbox is the ID of no sandbox: those that are made are longer.
const absentSandbox = "i0"

// IsMachine reports whether the proxy of a machine answers at HOST:PORT: it says of a sandbox that
// it does not know it, as nobody else does.
func IsMachine(ctx context.Context, address string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return false, err
	}
	req.Header.Set(headerSandbox, absentSandbox)
	req.Header.Set(headerPort, "80")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	return resp.Header.Get(headerRoute) == routeUnknown, nil
}
