package doctor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"shoal/internal/artifact"
	"shoal/internal/config"
)

// Contents reads all images, kernels and snapshots of the machine and compares them with their
// checksums. It takes as long as the disk needs for them.
func Contents(ctx context.Context, cfg *config.Config) []Result {
	images := []string{filepath.Join(cfg.DataDir, "images", "sha256-*.erofs")}
	if cfg.ImageDir != "" {
		images = append(images, filepath.Join(cfg.ImageDir, "images", "sha256-*.erofs"))
	}
	results := []Result{
		checkDigests(ctx, "images", "remove it, and build the templates that stand on it again: for the base template, start shoal",
			images, imageDigest),
		checkDigests(ctx, "kernels", "remove it; a start puts the present one back, and snapshots that need it boot from their disk",
			[]string{filepath.Join(cfg.DataDir, "kernels", "*", "kernel")}, kernelDigest),
		checkSnapshots(ctx, "snapshots", filepath.Join(cfg.DataDir, "artifacts")),
	}
	if cfg.ArtifactDir != "" {
		results = append(results, checkSnapshots(ctx, "depot contents", cfg.ArtifactDir))
	}
	return results
}

func imageDigest(path string) string {
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "sha256-"), ".erofs")
}

func kernelDigest(path string) string { return filepath.Base(filepath.Dir(path)) }

// checkDigests compares files with the digests by which they are named.
func checkDigests(ctx context.Context, name, fix string, patterns []string, digest func(path string) string) Result {
	n := 0
	for _, pattern := range patterns {
		files, _ := filepath.Glob(pattern) // the pattern is well formed
		for _, file := range files {
			got, err := sumFile(ctx, file)
			switch {
			case errors.Is(err, os.ErrNotExist): // it went meanwhile
			case err != nil:
				return Warn.because("", "%s cannot be read: %v", file, err).of(name)
			case got != digest(file):
				return Fail.because(fix,
					"%s is damaged: its content has another digest than its name", file).of(name)
			default:
				n++
			}
		}
	}
	return ok("%d, as they were made", n).of(name)
}

func sumFile(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if _, err := io.CopyN(h, f, 64<<20); errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		} else if err != nil {
			return "", err
		}
	}
}

func checkSnapshots(ctx context.Context, name, dir string) Result {
	n, damaged, err := artifact.Check(ctx, dir)
	switch {
	case err != nil:
		return Warn.because("", "they cannot be read: %v", err).of(name)
	case len(damaged) > 0:
		return Warn.because("kill the sandboxes, or build the templates again, that it belongs to; those with a disk of their own boot from it",
			"%d of %d are damaged: %v", len(damaged), n, damaged[0]).of(name)
	}
	return ok("%d, as they were made", n).of(name)
}
