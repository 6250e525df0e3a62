package config

import "path/filepath"

// Where the parts of an installation keep what they have. Paths are as absolute as
// DataDir and ImageDir are.

// BaseImages is the directory of base images, which installations may share.
func (c *Config) BaseImages() string {
	if c.ImageDir != "" {
		return c.ImageDir
	}
	return c.DataDir
}

// Builds is the directory of template builds: cached outcomes, logs, uploads.
func (c *Config) Builds() string { return filepath.Join(c.DataDir, "builds") }

// Uploads is the directory of the files that clients upload for COPY steps.
func (c *Config) Uploads() string { return filepath.Join(c.Builds(), "files") }

// ImageLibrary is the directory of imported images.
func (c *Config) ImageLibrary() string { return filepath.Join(c.DataDir, "library") }

// PulledLayers is the directory of layers that came from container registries.
func (c *Config) PulledLayers() string { return filepath.Join(c.ImageLibrary(), "blobs") }

// DatabaseLocation is the configured database, or the file that is the default.
func (c *Config) DatabaseLocation() string {
	if c.Database != "" {
		return c.Database
	}
	return filepath.Join(c.DataDir, "shoal.db")
}
