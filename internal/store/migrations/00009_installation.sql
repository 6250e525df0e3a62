-- Which installation this is. Machines mark their snapshots with the ID, and remove nothing on
-- the word of another database. There is one row, whose number is 1.

-- +goose Up
CREATE TABLE installation (
    number     BIGINT NOT NULL PRIMARY KEY,
    id         TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

-- +goose Down
DROP TABLE installation;
