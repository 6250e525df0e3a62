package engine

import (
	"path"
	"strings"
)

// A COPY's glob is matched by the client, which puts only the matching files in the archive
// that it uploads (templates.md §2.4). What is left to do here is to find them there.

// sourceInArchive returns the part of the path before the first element with a wildcard.
func sourceInArchive(source string) string {
	var parts []string
	for part := range strings.SplitSeq(path.Clean(source), "/") {
		if strings.ContainsAny(part, "*?[{") {
			break
		}
		parts = append(parts, part)
	}
	if joined := path.Join(parts...); joined != "." {
		return joined
	}
	return ""
}
