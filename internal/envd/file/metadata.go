package file

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Metadata travels as X-Metadata-<key> headers and is kept in extended
// attributes user.e2b.<key> (envd.md §1.7).
const (
	metadataHeader = "X-Metadata-"
	metadataPrefix = "user.e2b."

	maxMetadataKey   = 246  // bytes; the kernel's 255 less the prefix
	maxMetadataTotal = 4096 // bytes, prefixes included
)

// ErrMetadata says that a request's metadata breaks a limit.
var ErrMetadata = errors.New("invalid metadata")

// ParseMetadata collects the metadata headers. Keys are lower-cased and the
// first value of a repeated header counts.
func ParseMetadata(header http.Header) (map[string]string, error) {
	metadata := map[string]string{}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(header)) {
		values := header[name]
		if len(name) <= len(metadataHeader) ||
			!strings.EqualFold(name[:len(metadataHeader)], metadataHeader) || len(values) == 0 {
			continue
		}
		key, value := strings.ToLower(name[len(metadataHeader):]), values[0]
		switch {
		case len(key) > maxMetadataKey:
			return nil, fmt.Errorf("%w: key is longer than %d bytes", ErrMetadata, maxMetadataKey)
		case !printable(key):
			return nil, fmt.Errorf("%w: key has bytes outside of printable ASCII", ErrMetadata)
		case !printable(value):
			return nil, fmt.Errorf("%w: value of %q has bytes outside of printable ASCII", ErrMetadata, key)
		}
		total += len(metadataPrefix) + len(key) + len(value)
		metadata[key] = value
	}
	if total > maxMetadataTotal {
		return nil, fmt.Errorf("%w: larger than %d bytes in all", ErrMetadata, maxMetadataTotal)
	}
	return metadata, nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// ReadMetadata returns the file's metadata, following links, and nil when
// there is none or the file system keeps none.
func ReadMetadata(path string) map[string]string {
	var metadata map[string]string
	for _, attr := range attributes(path) {
		value, err := attribute(path, attr)
		key := attr[len(metadataPrefix):]
		if err != nil || !utf8.ValidString(key) || !utf8.Valid(value) {
			continue
		}
		if metadata == nil {
			metadata = map[string]string{}
		}
		metadata[key] = string(value)
	}
	return metadata
}

// ReplaceMetadata replaces the file's metadata. It touches no attribute when nothing is to
// be added or removed, because each change is a CHMOD event for watchers.
func ReplaceMetadata(path string, metadata map[string]string) error {
	for _, attr := range attributes(path) {
		if _, keep := metadata[attr[len(metadataPrefix):]]; keep {
			continue
		}
		if err := unix.Removexattr(path, attr); err != nil && !errors.Is(err, unix.ENODATA) &&
			!unsupported(err) {
			return fmt.Errorf("remove metadata: %w", err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		err := unix.Setxattr(path, metadataPrefix+key, []byte(metadata[key]), 0)
		if err != nil && !unsupported(err) {
			return fmt.Errorf("set metadata: %w", err)
		}
	}
	return nil
}

// unsupported covers file systems without user attributes, and special files, which answer
// EPERM.
func unsupported(err error) bool {
	return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) ||
		errors.Is(err, unix.EPERM)
}

// attributes lists the names of the file's metadata attributes.
func attributes(path string) []string {
	var small [1024]byte
	buf := small[:]
	n, err := unix.Listxattr(path, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 64<<10) // the kernel's own limit
		n, err = unix.Listxattr(path, buf)
	}
	if err != nil || n == 0 {
		return nil
	}
	var names []string
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if len(name) > len(metadataPrefix) && strings.HasPrefix(name, metadataPrefix) {
			names = append(names, name)
		}
	}
	return names
}

func attribute(path, name string) ([]byte, error) {
	buf := make([]byte, 4096)
	n, err := unix.Getxattr(path, name, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 64<<10)
		n, err = unix.Getxattr(path, name, buf)
	}
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}
