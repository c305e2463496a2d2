package main

// setup is how a system gets the events.
type setup struct {
	version  string   // statement that tells its version
	settings string   // for the reader of the table
	ready    string   // statement whose first cell is not 0 when the events are there
	load     []string // statements that load {csv}
}

const clickhouseColumns = `user UInt32 CODEC(Delta, ZSTD(3)), ts UInt64 CODEC(Delta, ZSTD(3)),
event LowCardinality(String) CODEC(ZSTD(3)), channel LowCardinality(String) CODEC(ZSTD(3)), device LowCardinality(String) CODEC(ZSTD(3)),
campaign LowCardinality(String) CODEC(ZSTD(3)), value Nullable(Float64) CODEC(ZSTD(3))`

const clickhouseRows = `SELECT toUInt32(substring(user_id, 2)) AS user, ts, event, channel, device, campaign, value
FROM file('{csv}', 'CSVWithNames', 'ts UInt64, user_id String, event String, channel String, device String, campaign String, value Nullable(Float64)')`

var setups = map[string]setup{
	"wend": {
		version:  "show status",
		settings: "the store as make bench leaves it: imported, compacted; result cache off",
		ready:    "measure events",
	},
	"clickhouse": {
		version:  "SELECT version()",
		settings: "libchdb, max_threads 2; integer customer ids, Delta and ZSTD(3); the better of two MergeTree tables, ordered by (user, ts) and by (event, user, ts), both merged to the end",
		ready:    "SELECT count() FROM system.tables WHERE database = 'peers' AND name = 'loaded'",
		load: []string{
			"DROP DATABASE IF EXISTS peers",
			"CREATE DATABASE peers",
			"CREATE TABLE peers.by_user (" + clickhouseColumns + ") ENGINE = MergeTree ORDER BY (user, ts)",
			"INSERT INTO peers.by_user " + clickhouseRows + " SETTINGS max_threads = 2",
			"OPTIMIZE TABLE peers.by_user FINAL",
			"CREATE TABLE peers.by_event (" + clickhouseColumns + ") ENGINE = MergeTree ORDER BY (event, user, ts)",
			"INSERT INTO peers.by_event SELECT * FROM peers.by_user SETTINGS max_threads = 2",
			"OPTIMIZE TABLE peers.by_event FINAL",
			"CREATE TABLE peers.loaded (x UInt8) ENGINE = MergeTree ORDER BY x",
		},
	},
	"duckdb": {
		version:  "SELECT version()",
		settings: "Node package, threads 2, memory_limit 12 GB; one table sorted by (user, ts), enum columns",
		ready:    "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'loaded'",
		load: []string{
			"DROP TABLE IF EXISTS raw", "DROP TABLE IF EXISTS by_user",
			`CREATE TABLE raw AS SELECT substr(user_id, 2)::INTEGER AS "user", ts, event, channel, device, campaign, value FROM read_csv('{csv}', header = true,
columns = {'ts': 'BIGINT', 'user_id': 'VARCHAR', 'event': 'VARCHAR', 'channel': 'VARCHAR', 'device': 'VARCHAR', 'campaign': 'VARCHAR', 'value': 'DOUBLE'})`,
			"DROP TYPE IF EXISTS event_name", "CREATE TYPE event_name AS ENUM (SELECT DISTINCT event FROM raw ORDER BY event)",
			"DROP TYPE IF EXISTS channel_name", "CREATE TYPE channel_name AS ENUM (SELECT DISTINCT channel FROM raw WHERE channel IS NOT NULL ORDER BY channel)",
			`CREATE TABLE by_user AS SELECT "user", ts, event::event_name AS event, channel::channel_name AS channel, device, campaign, value FROM raw ORDER BY "user", ts`,
			"DROP TABLE raw",
			"CREATE TABLE loaded (x INTEGER)",
		},
	},
}
