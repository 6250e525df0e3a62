package transfer

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"shoal/internal/envd/file"
	"shoal/internal/envdapi"
)

// Download serves GET /files.
func (h *Handler) Download(w http.ResponseWriter, r *http.Request) {
	query, ok := h.authorize(w, r, envdapi.OperationRead)
	if !ok {
		return
	}
	name, err := h.username(query)
	if err != nil {
		reject(w, err)
		return
	}
	u, err := h.lookup(name)
	if err != nil {
		reject(w, err)
		return
	}
	path, err := h.resolve(u, query.Get("path"))
	if err != nil {
		reject(w, err)
		return
	}
	f, info, err := openRegular(path)
	if err != nil {
		reject(w, err)
		return
	}
	defer f.Close()
	coding, ok := negotiate(r.Header)
	if !ok {
		answerNotAcceptable(w)
		return
	}
	w.Header().Set("Vary", "Accept-Encoding")
	w.Header().Set("Content-Disposition", disposition(path))
	serve(w, r, f, info, path, coding)
}

func answerNotAcceptable(w http.ResponseWriter) {
	reject(w, failf(http.StatusNotAcceptable,
		"the file can be sent as it is or gzipped, and the request accepts neither"))
}

// openRegular follows links. It does not wait for the writer of a fifo.
func openRegular(path string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, failf(http.StatusNotFound, "path '%s' does not exist", path)
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = failf(http.StatusBadRequest, "path '%s' is a directory", path)
	case !info.Mode().IsRegular():
		err = failf(http.StatusBadRequest, "path '%s' is not a regular file", path)
	default:
		return f, info, nil
	}
	_ = f.Close()
	return nil, nil, err
}

// disposition quotes the base name, in RFC 2231 form if it is not ASCII.
func disposition(path string) string {
	value := mime.FormatMediaType("inline", map[string]string{"filename": filepath.Base(path)})
	if value == "" {
		return "inline"
	}
	return value
}

func serve(w http.ResponseWriter, r *http.Request, f *os.File, info os.FileInfo, path, coding string) {
	var content io.Reader = f
	if info.Size() == 0 {
		// The kernel's virtual files have content although their size is 0.
		head, err := io.ReadAll(io.LimitReader(f, 4<<10))
		if err != nil {
			reject(w, err)
			return
		}
		if len(head) == 0 {
			http.ServeContent(w, r, path, info.ModTime(), f)
			return
		}
		content = io.MultiReader(bytes.NewReader(head), f)
		if coding == identity {
			w.Header().Set("Content-Type", contentType(path, head))
			if err := file.Copy(w, content); err != nil {
				panic(http.ErrAbortHandler) // the status is sent already
			}
			return
		}
	}
	if coding == identity {
		http.ServeContent(w, r, path, info.ModTime(), f)
		return
	}
	w.Header().Set("Content-Type", contentType(path, nil))
	w.Header().Set("Content-Encoding", gzipped)
	compress(w, content)
}

// contentType is told from the extension of the requested path, or else from the content as
// far as it is known.
func contentType(path string, head []byte) string {
	if byName := mime.TypeByExtension(filepath.Ext(path)); byName != "" {
		return byName
	}
	if head != nil {
		return http.DetectContentType(head)
	}
	return "application/octet-stream"
}

// compressors are kept because each allocates most of a megabyte.
var compressors = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // the level is valid
	return z
}}

func compress(w io.Writer, content io.Reader) {
	z := compressors.Get().(*gzip.Writer)
	defer compressors.Put(z)
	z.Reset(w)
	if err := file.Copy(z, content); err != nil {
		// Breaking the connection is the only way left to say that it failed.
		panic(http.ErrAbortHandler)
	}
	_ = z.Close()
}
