package config

import "path/filepath"

// The directories of an installation's parts. All are below DataDir or ImageDir.

// BaseImages is the directory of base images, which installations may share.
func (c *Config) BaseImages() string {
	if c.ImageDir != "" {
		return c.ImageDir
	}
	return c.DataDir
}

// Builds is the directory of template builds: cached results, logs and uploads.
func (c *Config) Builds() string { return filepath.Join(c.DataDir, "builds") }

// Uploads is the directory of the files that clients upload for COPY steps.
func (c *Config) Uploads() string { return filepath.Join(c.Builds(), "files") }

// ImageLibrary is the directory of imported images.
func (c *Config) ImageLibrary() string { return filepath.Join(c.DataDir, "library") }

// PulledLayers is the directory of layers pulled from container registries.
func (c *Config) PulledLayers() string { return filepath.Join(c.ImageLibrary(), "blobs") }

// Connections is the database of what became of connections of this machine's sandboxes.
func (c *Config) Connections() string { return filepath.Join(c.DataDir, "egress.db") }

// Firecracker is the directory of the programs and kernels of microVMs.
func (c *Config) Firecracker() string {
	if c.FirecrackerDir != "" {
		return c.FirecrackerDir
	}
	return filepath.Join(c.DataDir, "firecracker")
}

// MicroVMDisks is the directory of the file systems that disks of microVMs begin with.
func (c *Config) MicroVMDisks() string { return filepath.Join(c.DataDir, "microvm-disks") }

// DatabaseLocation is the configured database, or the default file.
func (c *Config) DatabaseLocation() string {
	if c.Database != "" {
		return c.Database
	}
	return filepath.Join(c.DataDir, "shoal.db")
}
