-- By which isolation runtime a build's guests run, as JSON text; an empty text leaves
-- the choice to the machine.

-- +goose Up
ALTER TABLE builds ADD COLUMN runtime TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE builds DROP COLUMN runtime;
