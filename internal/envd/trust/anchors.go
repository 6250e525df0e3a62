package trust

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxAnchor is how large a file with an authority is that is looked at, in bytes.
const maxAnchor = 1 << 20

// AddAnchors makes the authorities trusted that somebody has put where update-ca-certificates
// looks for them without running it: a boot or a build does that in a virtual machine.
func (s *Store) AddAnchors(ctx context.Context) error {
	files, err := anchors(filepath.Dir(s.paths.Extra))
	if err != nil || len(files) == 0 {
		return err
	}
	done, err := s.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer done()
	bundle, err := os.ReadFile(s.paths.Bundle)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("add authorities: %w", err)
	}
	trusted := certificates(bundle)
	var missing strings.Builder
	if len(bundle) > 0 && bundle[len(bundle)-1] != '\n' {
		missing.WriteByte('\n')
	}
	added := false
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it may have gone
		}
		for der := range certificates(data) {
			if !trusted[der] {
				trusted[der], added = true, true
				_ = pem.Encode(&missing, &pem.Block{Type: certificate, Bytes: []byte(der)}) // a Builder takes all
			}
		}
	}
	if !added {
		return nil
	}
	if err := s.write(missing.String()); err != nil {
		return fmt.Errorf("add authorities: %w", err)
	}
	return nil
}

const certificate = "CERTIFICATE" // the type of a PEM block

// certificates returns those of a PEM text, in binary form.
func certificates(text []byte) map[string]bool {
	found := map[string]bool{}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return found
		}
		if block.Type == certificate {
			found[string(block.Bytes)] = true
		}
	}
}

// anchors returns the files with authorities below a directory, which may be missing.
func anchors(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".crt" {
			return err
		}
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && info.Size() <= maxAnchor {
			files = append(files, name)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return files, err
}
