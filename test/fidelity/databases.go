package main

var databases = []program{{
	name: "PostgreSQL", does: "a transaction that is open over the pause", debian: []string{"tmux", "postgresql"},
	session: `PATH=$PATH:/usr/lib/postgresql/15/bin; initdb -D pg >/dev/null; exec postgres -D pg -k /tmp`,
	ready:   `psql -h /tmp postgres -c 'select 1'`,
	task: `psql -q -h /tmp postgres -c 'create table t (x int)'
		terminal psql -h /tmp postgres; shows 'postgres=#'
		keys 'begin; insert into t values (42);' Enter; shows 'INSERT 0 1'; echo inserted 42`,
	again: `keys 'commit;' Enter; shows COMMIT; psql -h /tmp postgres -Atc "select 'inserted ' || x from t"`, prints: "inserted 42",
}, {
	name: "MariaDB", does: "a transaction that is open over the pause", debian: []string{"tmux", "mariadb-server"},
	session: `exec sudo mariadbd --user=mysql`,
	ready:   `sudo mariadb -e 'select 1'`,
	task: `sudo mariadb -e 'create database d; create table d.t (x int) engine=innodb'
		terminal sudo mariadb d; shows 'MariaDB [d]>'
		keys 'begin; insert into t values (42);' Enter; shows '1 row affected'; echo inserted 42`,
	again:  `keys 'commit;' Enter; waits sh -c 'sudo mariadb -Ne "select x from d.t" | grep 42'; echo inserted 42`,
	prints: "inserted 42",
}, {
	name: "Redis", does: "keys stay; a background save; a subscriber hears after the pause", debian: []string{"redis-server"},
	session: `exec redis-server --bind 127.0.0.1`,
	ready:   `redis-cli ping`,
	task: `redis-cli set x 42; redis-cli bgsave; waits test -s dump.rdb
		setsid redis-cli subscribe news >heard 2>&1 </dev/null &
		waits grep subscribe heard; redis-cli get x`,
	again: `redis-cli publish news told; waits grep told heard; redis-cli get x`, prints: "42",
}, {
	name: "Memcached", does: "keys stay", debian: []string{"memcached"},
	session: `exec memcached -l 127.0.0.1`,
	ready:   `exec 3<>/dev/tcp/127.0.0.1/11211`,
	task:    `exec 3<>/dev/tcp/127.0.0.1/11211; printf 'set x 0 0 2\r\n42\r\nget x\r\nquit\r\n' >&3; cat <&3`,
	again:   `exec 3<>/dev/tcp/127.0.0.1/11211; printf 'get x\r\nquit\r\n' >&3; cat <&3`,
	prints:  "42",
}, {
	name: "DuckDB", does: "write and query Parquet; a connection stays", debian: []string{"tmux"}, pypi: []string{"duckdb"},
	task: `terminal /opt/python/bin/python; shows '>>>'
		keys 'import duckdb; d = duckdb.connect("d.duckdb")' Enter
		keys 'd.sql("copy (select range as x from range(43)) to '"'x.parquet'"'")' Enter
		keys 'print("most", d.sql("select max(x) from '"'x.parquet'"'").fetchall()[0][0])' Enter; shows 'most 42'; echo most 42`,
	again:  `keys 'print("again", d.sql("select max(x) from '"'x.parquet'"'").fetchall()[0][0])' Enter; shows 'again 42'; echo most 42`,
	prints: "most 42",
}}
