-- How much storage a team may use, in GiB, and what each build takes of it, in bytes: its
-- own snapshot, where -1 is not known, and its images, which builds may share. Machines say
-- what builds of earlier versions take.

-- +goose Up
ALTER TABLE teams ADD COLUMN storage_gb BIGINT NOT NULL DEFAULT 1024;
ALTER TABLE builds ADD COLUMN bytes BIGINT NOT NULL DEFAULT -1;
CREATE TABLE build_images (
    build_id TEXT   NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    digest   TEXT   NOT NULL,
    bytes    BIGINT NOT NULL,
    PRIMARY KEY (build_id, digest)
);

-- +goose Down
DROP TABLE build_images;
ALTER TABLE builds DROP COLUMN bytes;
ALTER TABLE teams DROP COLUMN storage_gb;
