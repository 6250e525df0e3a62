package api

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"shoal/internal/auth"
	"shoal/internal/shoal"
)

const (
	uploadPath  = "/upload"
	uploadTime  = time.Hour        // for one upload; SDKs wait as long
	uploadStall = 60 * time.Second // without a byte
)

// withUploads takes the files that upload links are for. The link itself is the
// credential, and the limits of other requests do not apply.
func (s *Server) withUploads(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != uploadPath {
			next.ServeHTTP(w, r)
			return
		}
		callOf(r.Context()).beginUpload()
		if err := s.upload(w, r); err != nil {
			writeError(w, r, err)
			return
		}
		w.WriteHeader(http.StatusOK)
	})
}

func (s *Server) upload(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPut {
		w.Header().Set("Allow", http.MethodPut)
		return shoal.ErrMethod.New("Method %s is not allowed for %s", r.Method, uploadPath)
	}
	scope, hash, err := s.checkUpload(r)
	if err != nil {
		return err
	}
	call := callOf(r.Context())
	call.team, call.refused, call.actor = scope, false, shoal.Actor{Kind: shoal.ActorLink}
	aimed(r.Context(), "files", hash)
	tooLarge := shoal.ErrUploadTooLarge.New("The files are larger than %d bytes", s.uploadLimit)
	if r.ContentLength > s.uploadLimit {
		return tooLarge
	}
	full, err := s.storage.upload(r.Context(), scope)
	if err != nil {
		return err
	}
	conn := http.NewResponseController(w)
	end := time.Now().Add(uploadTime)
	if err := conn.SetWriteDeadline(end.Add(uploadStall)); err != nil {
		return err
	}
	body := &uploadBody{conn: conn, end: end, full: full, from: http.MaxBytesReader(w, r.Body, s.uploadLimit)}
	err = s.builds.Files.Put(scope, hash, body)
	var limit *http.MaxBytesError
	switch {
	case errors.As(body.err, &limit):
		return tooLarge
	case body.refused:
		return body.err
	case body.err != nil:
		return shoal.ErrUploadBroken.Wrap(body.err, "The upload broke off")
	}
	return err
}

// checkUpload returns what a link is for.
func (s *Server) checkUpload(r *http.Request) (scope, hash string, err error) {
	q := r.URL.Query()
	key, token := q.Get("path"), q.Get("token")
	expires, err := strconv.ParseInt(q.Get("expires"), 10, 64)
	if key == "" || token == "" || err != nil {
		return "", "", shoal.ErrBadRequest.New("An upload needs path, expires and token")
	}
	if !auth.Equal(token, s.tokens.Upload(key, expires)) {
		return "", "", shoal.ErrUploadLink.New("Invalid upload token")
	}
	if time.Now().Unix() > expires {
		return "", "", shoal.ErrUploadLink.New("The upload link has expired")
	}
	scope, file, ok := strings.Cut(key, "/files/")
	hash, tar := strings.CutSuffix(file, ".tar")
	if !ok || !tar {
		return "", "", shoal.ErrBadRequest.New("Invalid upload path")
	}
	return scope, hash, nil
}

// uploadBody reads a request's body with a deadline that moves on with the bytes,
// and tells errors of reading from those of writing.
type uploadBody struct {
	conn    *http.ResponseController
	end     time.Time
	full    func() error // asked before each read
	from    io.Reader
	err     error // of reading, but for the end
	refused bool  // err is full's
}

var _ io.Reader = (*uploadBody)(nil)

// Read reads the next bytes.
func (b *uploadBody) Read(p []byte) (int, error) {
	deadline := time.Now().Add(uploadStall)
	if deadline.After(b.end) {
		deadline = b.end
	}
	if b.err = b.conn.SetReadDeadline(deadline); b.err != nil {
		return 0, b.err
	}
	if b.err = b.full(); b.err != nil {
		b.refused = true
		return 0, b.err
	}
	n, err := b.from.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}
