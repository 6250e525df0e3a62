package envdapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"
)

// Init is the body of POST /init (envd.md §1.4), by which the node sets a sandbox up and
// brings it back after a resume. It may be sent again. A field that is absent changes
// nothing, unless its comment says otherwise.
type Init struct {
	// Timestamp is the node's clock. A request older than one that was applied changes
	// nothing.
	Timestamp *time.Time `json:"timestamp,omitempty"`
	// EnvVars replace all of the user's variables.
	EnvVars map[string]string `json:"envVars,omitempty"`
	// AccessToken is what requests must carry from now on; absent, they need none.
	AccessToken AccessToken `json:"accessToken,omitempty"`
	// HyperloopIP is where the guest finds its node.
	HyperloopIP    string `json:"hyperloopIP,omitempty"`
	DefaultUser    string `json:"defaultUser,omitempty"`
	DefaultWorkdir string `json:"defaultWorkdir,omitempty"`
	// CABundle is PEM text that the guest's programs shall trust besides.
	CABundle string `json:"caBundle,omitempty"`
	// NoCA is Shoal's own: what an earlier CABundle has added is taken out.
	NoCA         bool          `json:"noCA,omitempty"`
	VolumeMounts []VolumeMount `json:"volumeMounts,omitempty"`
	// LifecycleID names this run of the sandbox; volumes are mounted once in each.
	LifecycleID string `json:"lifecycleID,omitempty"`
	// Identity is Shoal's own: it counts in a guest that was started ahead.
	Identity *Identity `json:"identity,omitempty"`
}

// Identity tells a guest that was started ahead which sandbox it is. It counts only with
// the secret of this start, which the guest cannot know.
type Identity struct {
	Secret     string `json:"secret"` // its BootHash is in the guest's environment
	SandboxID  string `json:"sandboxID"`
	TemplateID string `json:"templateID"`
	TokenHash  string `json:"accessTokenHash"` // TokenHash of the token in the same request
}

// VolumeMount is one volume of the sandbox. A target "<ip>:/<name>" is mounted by NFS.
// Without a target the platform has mounted it from outside of the guest, which is how a
// kernel without NFS gets its volumes.
type VolumeMount struct {
	Target string `json:"nfs_target"`
	Path   string `json:"path"` // absolute
}

// AccessToken is a token, or "" for none. In JSON none is null or absent; an empty text is
// an error, and so is a text with an escape, whose bytes would not be the same everywhere.
type AccessToken string

var _ json.Unmarshaler = (*AccessToken)(nil)

// UnmarshalJSON implements json.Unmarshaler.
func (t *AccessToken) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*t = ""
		return nil
	}
	if bytes.ContainsRune(data, '\\') {
		return errors.New("the access token contains an escape")
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	if text == "" {
		return errors.New("the access token is empty")
	}
	*t = AccessToken(text)
	return nil
}
