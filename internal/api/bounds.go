package api

import (
	"net/http"
	"strings"

	"shoal/internal/shoal"
)

// What one request may carry, in bytes unless another unit is named. All sandboxes keep
// their metadata in memory, and lists return it, so it is small.
const (
	maxBody      = 16 << 20  // of any request (api.md §1.1)
	maxPlainBody = 1 << 20   // of requests that bodyLimits does not name
	maxHead      = 128 << 10 // of a request's head; filters of lists are there

	maxMetadataEntries = 256
	maxMetadataKey     = 256
	maxMetadata        = 64 << 10 // all keys and values

	maxVariables   = 1024
	maxEnvironment = 512 << 10 // all names and values

	// maxCommandLine is of a template's start and ready commands. Linux passes no longer one to
	// the shell.
	maxCommandLine = 128<<10 - 1

	maxHTTPSPorts = 256  // entries
	maxSteps      = 1000 // of a template
)

// bodyLimits are the routes that need more than maxPlainBody: a template's steps have the
// text of its files in them.
var bodyLimits = map[string]int64{
	"POST /v2/templates/{templateID}/builds/{buildID}": maxBody,
	"POST /secrets":            maxSecretBody,
	"POST /secrets/{secretID}": maxSecretBody,
}

// bounded applies the operation's limit of the body.
func (o operation) bounded(w http.ResponseWriter, r *http.Request) error {
	limit, ok := bodyLimits[o.name]
	if !ok {
		limit = maxPlainBody
	}
	if r.ContentLength > limit {
		return errTooLarge(limit)
	}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = http.MaxBytesReader(w, r.Body, limit)
	}
	return nil
}

// checkMetadata refuses metadata beyond the bounds.
func checkMetadata(metadata map[string]string) error {
	if len(metadata) > maxMetadataEntries {
		return shoal.ErrBadRequest.New("metadata has %d entries; at most %d are allowed",
			len(metadata), maxMetadataEntries)
	}
	total := 0
	for key, value := range metadata {
		if len(key) > maxMetadataKey {
			return shoal.ErrBadRequest.New("metadata has a key of %d bytes; a key may have at most %d",
				len(key), maxMetadataKey)
		}
		total += len(key) + len(value)
	}
	if total > maxMetadata {
		return shoal.ErrBadRequest.New("metadata has %d bytes; all keys and values may have at most %d together",
			total, maxMetadata)
	}
	return nil
}

// checkVariables refuses an environment that no program could be started with.
func checkVariables(variables map[string]string) error {
	bad := shoal.ErrBadRequest.New
	if len(variables) > maxVariables {
		return bad("envVars has %d variables; at most %d are allowed", len(variables), maxVariables)
	}
	total := 0
	for name, value := range variables {
		size := len(name) + len(value)
		switch {
		case name == "":
			return bad("envVars has a variable without a name")
		case strings.ContainsAny(name, "=\x00"):
			return bad("envVars: the name %.64q has a character that names of variables cannot have: = or NUL", name)
		case strings.Contains(value, "\x00"):
			return bad("envVars: the value of %.64q has a NUL, which values of variables cannot have", name)
		case size > shoal.MaxVariable:
			return bad("envVars: %.64q has %d bytes; a name and its value may have at most %d together, or else no program starts",
				name, size, shoal.MaxVariable)
		}
		total += size
	}
	if total > maxEnvironment {
		return bad("envVars has %d bytes; all names and values may have at most %d together", total, maxEnvironment)
	}
	return nil
}
