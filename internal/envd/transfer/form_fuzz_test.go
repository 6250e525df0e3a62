package transfer

import (
	"errors"
	"mime/multipart"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/envd/account"
	"shoal/internal/envd/settings"
)

// FuzzForm: the files of a form get absolute paths, each with the name that its sender
// gave, or none.
func FuzzForm(f *testing.F) {
	f.Add("--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a/b.txt\"\r\n\r\ncontent\r\n--x--\r\n", "")
	f.Add("--x\r\nContent-Disposition: form-data; name=file; filename*=utf-8''%2e%2e%2fup\r\n\r\n\r\n--x--", "")
	f.Add("--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n\r\n--x\r\n\r\n--x--", "~/named")
	f.Fuzz(func(t *testing.T, body, path string) {
		up := &upload{h: &Handler{Settings: settings.New()}, user: account.User{Home: "/home/user"}, query: url.Values{"path": {path}}}
		form := multipart.NewReader(strings.NewReader(body), "x")
		for {
			part, err := form.NextPart()
			if err != nil {
				return
			}
			if part.FormName() != "file" {
				continue
			}
			target, err := up.target(part)
			if err != nil {
				var told *failure
				if !errors.As(err, &told) || told.status != http.StatusBadRequest {
					t.Fatalf("%q: %v", body, err)
				}
				continue
			}
			if !filepath.IsAbs(target) {
				t.Errorf("%q: the target %q", body, target)
			}
			if name := part.FileName(); path == "" && name != "" && filepath.Base(target) != name && name != ".." && name != "~" {
				t.Errorf("%q: the target %q of the file %q", body, target, name)
			}
		}
	})
}
