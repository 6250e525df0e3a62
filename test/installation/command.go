package installation

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"shoal/internal/envdapi/gen/process"
	"shoal/internal/envdapi/gen/process/processconnect"
	"shoal/internal/shoal"
)

// Caller sends requests to a sandbox's daemon through the proxy, as a user of the sandbox.
type Caller struct {
	SandboxID, Token, User string
	Transport              http.RoundTripper // of the requests
}

var _ http.RoundTripper = Caller{}

// RoundTrip implements http.RoundTripper: it adds what the proxy and the daemon need to know.
func (c Caller) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	identify(r, c.SandboxID, c.Token)
	r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.User+":")))
	return c.Transport.RoundTrip(r)
}

// identify tells the proxy which daemon a request is for, and the daemon that it is allowed.
func identify(r *http.Request, sandboxID, token string) {
	r.Header.Set("E2b-Sandbox-Id", sandboxID)
	r.Header.Set("E2b-Sandbox-Port", fmt.Sprint(shoal.EnvdPort))
	r.Header.Set("X-Access-Token", token)
}

// Shell runs a command line as the SDKs do, and returns what it prints. The error of one that
// fails is a *StatusError.
func (i *Installation) Shell(ctx context.Context, c Caller, line string) (string, error) {
	client := processconnect.NewProcessClient(&http.Client{Transport: c}, "http://"+i.Proxy, connect.WithProtoJSON())
	stdin := false
	stream, err := client.Start(ctx, connect.NewRequest(&process.StartRequest{Stdin: &stdin,
		Process: &process.ProcessConfig{Cmd: "/bin/bash", Args: []string{"-l", "-c", line}}}))
	if err != nil {
		return "", err
	}
	defer stream.Close()
	var out strings.Builder
	for stream.Receive() {
		switch event := stream.Msg().GetEvent().GetEvent().(type) {
		case *process.ProcessEvent_Data:
			out.Write(event.Data.GetStdout())
			out.Write(event.Data.GetStderr())
		case *process.ProcessEvent_End:
			if event.End.GetExitCode() != 0 || !event.End.GetExited() {
				return out.String(), &StatusError{event.End.GetStatus()}
			}
			return out.String(), nil
		}
	}
	return out.String(), errors.Join(errors.New("the command's end is not known"), stream.Err())
}

// StatusError is of a command that has failed.
type StatusError struct{ Status string }

var _ error = (*StatusError)(nil)

// Error returns how the command ended.
func (e *StatusError) Error() string { return e.Status }
