-- Whether the operator lets a team show its templates to all teams. Before, every team
-- could; now those that should are told so by the operator.

-- +goose Up
ALTER TABLE teams ADD COLUMN may_publish BOOLEAN NOT NULL DEFAULT FALSE;

-- +goose Down
ALTER TABLE teams DROP COLUMN may_publish;
