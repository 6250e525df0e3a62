-- How many sandboxes each team had on each machine, counted every five seconds. Several apis
-- may store the same tally; the one that goes on longest stays. Machines may tell of teams
-- that are gone, so a team need not be there.

-- +goose Up
CREATE TABLE tallies (
    team_id  TEXT   NOT NULL,
    from_at  BIGINT NOT NULL,
    node_id  TEXT   NOT NULL,
    until_at BIGINT NOT NULL,
    -- "RUNNING" or "RUNNING+CREATED" for each count, divided by spaces.
    counts   TEXT   NOT NULL,
    PRIMARY KEY (team_id, from_at, node_id)
);
CREATE INDEX tallies_age ON tallies (until_at);

-- +goose Down
DROP TABLE tallies;
