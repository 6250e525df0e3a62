package installation

import (
	"encoding/json"
	"os"
	"path/filepath"

	"shoal/internal/certificate/certificatetest"
)

// AuthorityOf is a sandbox's certificate authority with its key (PEM), as its record on this machine
// has it; empty if it has none.
func (i *Installation) AuthorityOf(sandboxID string) (string, error) {
	data, err := os.ReadFile(filepath.Join(i.RunDir, "sandboxes", sandboxID+".json"))
	if err != nil {
		return "", err
	}
	var record struct{ Authority string }
	err = json.Unmarshal(data, &record)
	return record.Authority, err
}

// Vouched is the key and the certificate of a server's name (PEM), by an authority with its key.
func Vouched(authority, name string) (string, error) {
	a, err := certificatetest.Load([]byte(authority))
	if err != nil {
		return "", err
	}
	certificate, err := a.Issue(name)
	if err != nil {
		return "", err
	}
	pair, err := certificatetest.PairPEM(certificate)
	return string(pair), err
}
