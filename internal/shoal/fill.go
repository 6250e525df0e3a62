package shoal

import "errors"

// Fill asks for the values of placeholders in the headers of one domain's transform.
type Fill struct {
	SandboxID string
	Domain    string // of Network.Transforms
	Wanted    []Placeholder
}

// MaxFill is the most placeholders that one Fill may ask for: 20 headers of 2048 bytes hold no more.
const MaxFill = 20 * 2048 / len("${e2b.secrets.a}")

// ErrFillerGone means that whoever called Fills cannot be asked any more.
var ErrFillerGone = errors.New("who fills placeholders in is gone")
