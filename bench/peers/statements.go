package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// statement is one question, as each system is asked it.
type statement struct {
	name     string
	wend     string
	columns  []int               // of wend's answer, those that a peer's rows have, in its order
	peers    map[string][]string // texts to try for a peer; the fastest counts
	variants []string            // the same for wend with another where, another during: at most twice as slow
	differs  string              // how a peer's meaning differs; then its answer need not be equal
}

// data are the sets of statements by the name of the events they are for.
var data = map[string][]statement{
	"workload": statements(names{
		steps:  [3]string{"view_product", "add_to_cart", "purchase"},
		five:   [5]string{"search", "view_product", "add_to_cart", "begin_checkout", "purchase"},
		filter: "campaign != 'cmp7'", exclusion: "complaint",
		goal: "purchase", channel: "store", otherChannel: "web",
		from: "2025-02-01", to: "2025-02-28", during: [2]int64{1738368000000, 1740787200000}, otherFrom: "2025-01-10", otherTo: "2025-03-10",
		where: "device != 'pos'", window: "7d",
	}),
	"road-traffic-fines": statements(names{
		steps: [3]string{"Create Fine", "Send Fine", "Payment"},
		five:  [5]string{"Create Fine", "Send Fine", "Insert Fine Notification", "Add penalty", "Payment"},
		goal:  "Payment", channel: "A", otherChannel: "C", window: "180d",
	}),
	"bpi2012": statements(names{
		steps: [3]string{"A_SUBMITTED", "A_PREACCEPTED", "A_ACCEPTED"},
		five:  [5]string{"A_SUBMITTED", "A_PARTLYSUBMITTED", "A_PREACCEPTED", "A_ACCEPTED", "A_APPROVED"},
		goal:  "A_ACCEPTED", channel: "112", otherChannel: "10862", window: "30d",
	}),
}

func dataNames() []string { return slices.Sorted(maps.Keys(data)) }

// names are what the statements are made of.
type names struct {
	steps                 [3]string
	five                  [5]string
	filter, exclusion     string // of the third of the five steps; empty: none
	goal                  string
	channel, otherChannel string
	from, to              string   // a month; empty: not asked
	during                [2]int64 // the same in ms, half open
	otherFrom, otherTo    string
	where                 string
	window                string
}

const day = 86_400_000

func days(window string) int64 {
	var n int64
	fmt.Sscanf(window, "%dd", &n)
	return n * day
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// name writes an event for wend: plain, or quoted if it has to be.
func name(s string) string {
	for _, r := range s {
		if (r < 'a' || r > 'z') && r != '_' && (r < '0' || r > '9') {
			return `"` + s + `"`
		}
	}
	return s
}

// statements are those that goals are set for.
func statements(n names) []statement {
	a, b, c := n.steps[0], n.steps[1], n.steps[2]
	chain := name(a) + " -> " + name(b) + " -> " + name(c)
	window := days(n.window)
	funnel := "funnel " + chain + " within " + n.window
	in := fmt.Sprintf("event IN (%s, %s, %s)", quote(a), quote(b), quote(c))
	conditions := fmt.Sprintf("event = %s, event = %s, event = %s", quote(a), quote(b), quote(c))
	var variants []string
	if n.where != "" {
		variants = append(variants, " where "+n.where, " during "+n.otherFrom+" to "+n.otherTo)
	} else {
		variants = append(variants, " where channel != "+quote(n.otherChannel))
	}
	with := func(text string) []string {
		var list []string
		for _, v := range variants {
			list = append(list, text+v)
		}
		return list
	}

	// levels counts who reached each of k steps.
	levels := func(from string, k int) string {
		var rows []string
		for i := range k {
			rows = append(rows, fmt.Sprintf("(%d, sumIf(n, level >= %d))", i+1, i+1))
		}
		return fmt.Sprintf("SELECT arrayJoin([%s]) AS r, r.1, r.2 FROM (SELECT level, count() AS n FROM (%s) GROUP BY level)", strings.Join(rows, ", "), from)
	}
	clickhouseFunnel := func(table, where string) string {
		return "SELECT t.2, t.3 FROM (" + strings.Replace(levels(fmt.Sprintf("SELECT windowFunnel(%d)(ts, %s) AS level FROM peers.%s WHERE %s GROUP BY user",
			window, conditions, table, where), 3), "AS r, r.1, r.2", "AS q, tuple(q, q.1, q.2) AS t", 1) + ") SETTINGS max_threads = 2, optimize_aggregation_in_order = " + inOrder(table)
	}
	duckdbFunnel := func(where string) string {
		return fmt.Sprintf(`WITH x AS (SELECT "user", ts, event, max(CASE WHEN event = %[1]s THEN ts END) OVER w AS t1 FROM by_user WHERE %[4]s WINDOW w AS (PARTITION BY "user" ORDER BY ts ROWS UNBOUNDED PRECEDING)),
y AS (SELECT *, max(CASE WHEN event = %[2]s AND ts - t1 <= %[5]d THEN t1 END) OVER w AS t2 FROM x WINDOW w AS (PARTITION BY "user" ORDER BY ts ROWS UNBOUNDED PRECEDING)),
z AS (SELECT count(DISTINCT "user") FILTER (event = %[1]s) AS a, count(DISTINCT "user") FILTER (event = %[2]s AND ts - t1 <= %[5]d) AS b, count(DISTINCT "user") FILTER (event = %[3]s AND ts - t2 <= %[5]d) AS c FROM y)
SELECT 1, a FROM z UNION ALL SELECT 2, b FROM z UNION ALL SELECT 3, c FROM z`, quote(a), quote(b), quote(c), where, window)
	}
	list := []statement{
		{
			name: "funnel of 3", wend: funnel, columns: []int{0, 2}, variants: with(funnel),
			peers: map[string][]string{
				"clickhouse": {clickhouseFunnel("by_user", in), clickhouseFunnel("by_event", in)},
				"duckdb":     {duckdbFunnel(in)},
			},
		},
		{
			name: "funnel of 3 by channel", wend: funnel + " by channel", columns: []int{0, 1, 3}, variants: with(funnel + " by channel"),
			differs: "ClickHouse takes the channel of the first " + a + ", wend that of the attempt that it reports, with times and open attempts",
			peers: map[string][]string{"clickhouse": {fmt.Sprintf(`SELECT channel, s.1, s.2 FROM (SELECT channel, arrayJoin([(1, sum(level >= 1)), (2, sum(level >= 2)), (3, sum(level >= 3))]) AS s FROM (
SELECT user, argMin(channel, if(event = %s, ts, NULL)) AS channel, windowFunnel(%d)(ts, %s) AS level FROM peers.by_user WHERE %s GROUP BY user) GROUP BY channel) SETTINGS max_threads = 2, optimize_aggregation_in_order = 1`,
				quote(a), window, conditions, in)}},
		},
	}

	// Five steps, a filter on one, an exclusion that the peers go without.
	five := make([]string, 5)
	var fiveConditions, fiveIn []string
	for i, s := range n.five {
		five[i] = name(s)
		condition := "event = " + quote(s)
		if i == 2 && n.filter != "" {
			five[i] += "[" + n.filter + "]"
			condition += " AND " + n.filter
		}
		fiveConditions = append(fiveConditions, condition)
		fiveIn = append(fiveIn, quote(s))
	}
	plain := "funnel " + strings.Join(five, " -> ") + " within 30d"
	clickhouseFive := func(table string) string {
		return "SELECT q.1, q.2 FROM (" + strings.Replace(levels(fmt.Sprintf("SELECT windowFunnel(%d)(ts, %s) AS level FROM peers.%s WHERE event IN (%s) GROUP BY user",
			30*day, strings.Join(fiveConditions, ", "), table, strings.Join(fiveIn, ", ")), 5), "AS r, r.1, r.2", "AS q", 1) + ") SETTINGS max_threads = 2, optimize_aggregation_in_order = " + inOrder(table)
	}
	list = append(list, statement{
		name: "funnel of 5, filter", wend: plain, columns: []int{0, 2},
		peers: map[string][]string{"clickhouse": {clickhouseFive("by_user"), clickhouseFive("by_event")}},
	})
	if n.exclusion != "" {
		excluding := "funnel " + strings.Join(slices.Insert(slices.Clone(five), 3, "!"+n.exclusion), " -> ") + " within 30d"
		list = append(list, statement{
			name: "funnel of 5, filter, exclusion", wend: excluding, columns: []int{0, 2}, variants: with(excluding),
			differs: "ClickHouse without the exclusion",
			peers:   map[string][]string{"clickhouse": {clickhouseFive("by_user"), clickhouseFive("by_event")}},
		})
	}

	dropoff := "dropoff " + chain + " within " + n.window
	list = append(list, statement{
		name: "dropoff of 3", wend: dropoff, columns: []int{0, 2, 3}, variants: with(dropoff),
		differs: "ClickHouse gives the event after the first chain (sequenceNextNode), without windows, open attempts and times",
		peers: map[string][]string{"clickhouse": {fmt.Sprintf(`SELECT level, next, count() FROM (SELECT windowFunnel(%d)(ts, %s) AS level,
if(level = 1, sequenceNextNode('forward', 'first_match')(ts, toNullable(toString(event)), event = %s, event = %s), sequenceNextNode('forward', 'first_match')(ts, toNullable(toString(event)), event = %s, event = %s, event = %s)) AS next
FROM peers.by_user GROUP BY user) WHERE level IN (1, 2) GROUP BY level, next SETTINGS max_threads = 2, optimize_aggregation_in_order = 1, allow_experimental_funnel_functions = 1`,
			window, conditions, quote(a), quote(a), quote(a), quote(a), quote(b))}},
	})

	paths := "paths length 5 top 10"
	list = append(list, statement{
		name: "paths of 5, top 10", wend: paths, columns: []int{0, 1}, variants: with(paths),
		peers: map[string][]string{
			"clickhouse": {
				`SELECT arrayMap(x -> toString(x), p), n FROM (SELECT p, count() AS n FROM (SELECT groupArray(5)(event) AS p FROM peers.by_user GROUP BY user) GROUP BY p) ORDER BY n DESC, arrayStringConcat(p, ' ') LIMIT 10
SETTINGS max_threads = 2, optimize_aggregation_in_order = 1`,
				`SELECT arrayMap(x -> toString(x), p), n FROM (SELECT p, count() AS n FROM (SELECT arraySlice(arrayMap(x -> x.2, arraySort(groupArray((ts, event)))), 1, 5) AS p FROM peers.by_user GROUP BY user) GROUP BY p) ORDER BY n DESC, arrayStringConcat(p, ' ') LIMIT 10
SETTINGS max_threads = 2, optimize_aggregation_in_order = 1`,
			},
			"duckdb": {`SELECT p, n FROM (SELECT p, count(*) AS n FROM (SELECT list(event ORDER BY ts)[1:5] AS p FROM (SELECT "user", ts, event, row_number() OVER (PARTITION BY "user" ORDER BY ts) AS k FROM by_user) WHERE k <= 5 GROUP BY "user") GROUP BY p) ORDER BY n DESC, array_to_string(p, ' ') LIMIT 10`,
				`SELECT p, n FROM (SELECT p, count(*) AS n FROM (SELECT list(event ORDER BY ts)[1:5] AS p FROM by_user GROUP BY "user") GROUP BY p) ORDER BY n DESC, array_to_string(p, ' ') LIMIT 10`},
		},
	})

	pathsTo := "paths to " + name(n.goal) + " within " + n.window + " length 5"
	list = append(list, statement{
		name: "paths to " + n.goal, wend: pathsTo, columns: []int{0, 1}, variants: with(pathsTo),
		peers: map[string][]string{"clickhouse": {fmt.Sprintf(`SELECT arrayMap(x -> toString(x), p), n FROM (SELECT p, count() AS n FROM (
SELECT arraySlice(arrayFilter((x, t) -> t >= last - %d, arraySlice(e, 1, at), arraySlice(t, 1, at)), -5) AS p FROM (
SELECT groupArray(event) AS e, groupArray(ts) AS t, indexOf(e, %s) AS at, t[at] AS last FROM peers.by_user GROUP BY user HAVING at > 0)) GROUP BY p) ORDER BY n DESC, arrayStringConcat(p, ' ') LIMIT 10
SETTINGS max_threads = 2, optimize_aggregation_in_order = 1`, window, quote(n.goal))}},
	})

	transitions := "transitions top 10000"
	list = append(list, statement{
		name: "transitions", wend: transitions, columns: []int{0, 1, 2}, variants: with(transitions),
		peers: map[string][]string{
			"clickhouse": {
				`SELECT toString(p.1), toString(p.2), count() FROM (SELECT arrayJoin(arrayZip(arrayPopBack(e), arrayPopFront(e))) AS p FROM (SELECT groupArray(event) AS e FROM peers.by_user GROUP BY user)) GROUP BY p SETTINGS max_threads = 2, optimize_aggregation_in_order = 1`,
				`SELECT toString(source), toString(event), count() FROM (SELECT user, event, lagInFrame(event) OVER w AS source, row_number() OVER w AS k FROM peers.by_user WINDOW w AS (PARTITION BY user ORDER BY ts)) WHERE k > 1 GROUP BY source, event SETTINGS max_threads = 2`,
			},
			"duckdb": {`SELECT source, event, count(*) FROM (SELECT event, lag(event) OVER (PARTITION BY "user" ORDER BY ts) AS source FROM by_user) WHERE source IS NOT NULL GROUP BY source, event`},
		},
	}, statement{
		name: "transitions with times", wend: "transitions with times top 10000", columns: []int{0, 1, 2, 4}, variants: with("transitions with times top 10000"),
		peers: map[string][]string{
			"clickhouse": {`SELECT toString(p.1), toString(p.2), count(), quantileExactInclusive(0.5)(p.3) FROM (SELECT arrayJoin(arrayZip(arrayPopBack(e), arrayPopFront(e), arrayMap((x, y) -> y - x, arrayPopBack(t), arrayPopFront(t)))) AS p FROM (SELECT groupArray(event) AS e, groupArray(ts) AS t FROM peers.by_user GROUP BY user)) GROUP BY p.1, p.2 SETTINGS max_threads = 2, optimize_aggregation_in_order = 1`},
			"duckdb":     {`SELECT source, event, count(*), median(ts - before) FROM (SELECT event, ts, lag(event) OVER w AS source, lag(ts) OVER w AS before FROM by_user WINDOW w AS (PARTITION BY "user" ORDER BY ts)) WHERE source IS NOT NULL GROUP BY source, event`},
		},
	})

	measure := "measure events, customers by event, channel"
	list = append(list, statement{
		name: "measure by event, channel", wend: measure, columns: []int{0, 1, 2, 3}, variants: with(measure),
		peers: map[string][]string{
			"clickhouse": {
				`SELECT toString(event), toString(channel), count(), uniqExact(user) FROM peers.by_event GROUP BY event, channel SETTINGS max_threads = 2`,
				`SELECT toString(event), toString(channel), count(), uniqExact(user) FROM peers.by_user GROUP BY event, channel SETTINGS max_threads = 2`,
			},
			"duckdb": {`SELECT event, channel, count(*), count(DISTINCT "user") FROM by_user GROUP BY event, channel`},
		},
	})

	if n.from != "" {
		where := fmt.Sprintf("%s AND channel = %s AND ts >= %d AND ts < %d", in, quote(n.channel), n.during[0], n.during[1])
		text := funnel + " where channel = " + quote(n.channel) + " during " + n.from + " to " + n.to
		list = append(list, statement{
			name: "funnel of 3, one channel, one month", wend: text, columns: []int{0, 2},
			variants: []string{strings.Replace(text, quote(n.channel), quote(n.otherChannel), 1), funnel + " where channel = " + quote(n.channel) + " during " + n.otherFrom + " to " + n.to},
			differs:  "wend: entries in the month, later steps after it too; ClickHouse: all steps in the month",
			peers:    map[string][]string{"clickhouse": {clickhouseFunnel("by_user", where), clickhouseFunnel("by_event", where)}},
		})
	}

	attribute := "attribute " + name(n.goal) + " to channel within 30d using linear, markov"
	list = append(list, statement{
		name: "attribute linear, markov", wend: attribute, columns: []int{0, 1}, variants: with(attribute),
		differs: "ClickHouse only linear",
		peers: map[string][]string{"clickhouse": {fmt.Sprintf(`SELECT label, sum(1 / n) FROM (SELECT if(empty(touches), ['(direct)'], touches) AS l, length(l) AS n, arrayJoin(l) AS label FROM (
SELECT arrayFilter((x, k) -> k > previous AND k < at AND t[k] >= t[at] - %d, c, arrayEnumerate(c)) AS touches FROM (
SELECT t, c, arrayJoin(arrayFilter((k, g) -> g, arrayEnumerate(goal), goal)) AS at, arrayLastIndex((g, k) -> g AND k < at, goal, arrayEnumerate(goal)) AS previous FROM (
SELECT groupArray(ts) AS t, groupArray(toString(channel)) AS c, groupArray(event = %s) AS goal FROM peers.by_user GROUP BY user HAVING has(goal, 1))))) GROUP BY label SETTINGS max_threads = 2, optimize_aggregation_in_order = 1`,
			30*day, quote(n.goal))}},
	})
	return list
}

// inOrder is whether aggregation by customer can follow a table's order.
func inOrder(table string) string {
	if table == "by_user" {
		return "1"
	}
	return "0"
}
