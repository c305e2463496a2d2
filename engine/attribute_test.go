package engine_test

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"wend/engine"
	"wend/engine/enginetest"
	"wend/event"
	"wend/internal/shared"
)

// The heuristic models against the figures that the ChannelAttribution package
// prints for its sample, markov against the chain of that sample solved by
// linear algebra elsewhere.
func TestAttributionOfThePublishedSample(t *testing.T) {
	events := attributionEvents(t)
	snap := enginetest.Must(events, enginetest.Options{Tiles: 4})
	res := mustRun(t, snap, "attribute conversion to channel within 3650d using first, last, linear, markov, position, decay, shapley, markov(2) value value")
	got := map[string][]engine.Cell{}
	sums := make([]float64, len(res.Columns))
	for _, row := range res.Rows {
		got[row[0].(string)] = row
		for i := 1; i < len(row); i++ {
			sums[i] += row[i].(float64)
		}
	}
	place := map[string]int{}
	for i, column := range res.Columns {
		place[column.Name] = i
	}
	all := sums[place["value_first"]]
	for i := 1; i < len(sums); i++ {
		want := 19785.0
		if strings.HasPrefix(res.Columns[i].Name, "value_") {
			want = all
		}
		if math.Abs(sums[i]-want) > 1e-6 {
			t.Errorf("%s adds up to %v, want %v", res.Columns[i].Name, sums[i], want)
		}
	}
	if math.Abs(all-74802.97) > 0.01 {
		t.Errorf("the value of all conversions is %v", all)
	}
	known := readCSV(t, shared.Path(t, "data", "attribution-pathdata", "reference_heuristic_models.csv"))[1:]
	for _, line := range known {
		for i, name := range []string{"conversions_first", "value_first", "conversions_last", "value_last", "conversions_linear", "value_linear"} {
			want, _ := strconv.ParseFloat(line[i+1], 64)
			if x := got[line[0]][place[name]].(float64); math.Abs(x-want) > 1e-6 {
				t.Errorf("%s of %s: %v, want %v", name, line[0], x, want)
			}
		}
	}
	exact := exactMarkov(t)
	if len(exact) != len(known) || len(known) != len(res.Rows) {
		t.Errorf("%d labels, want %d and %d", len(res.Rows), len(known), len(exact))
	}
	for label, want := range exact {
		if x := got[label][place["conversions_markov"]].(float64); math.Abs(x-want) > 1e-6 {
			t.Errorf("markov gives %s %v, want %v", label, x, want)
		}
	}
}

func attributionEvents(t *testing.T) []event.Event {
	f, err := os.Open(shared.Path(t, "data", "attribution-events.csv.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var events []event.Event
	lines := csv.NewReader(z)
	for n := 0; ; n++ {
		line, err := lines.Read()
		if err == io.EOF {
			return events
		}
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			continue
		}
		seconds, err := strconv.ParseInt(line[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		e := event.Event{Customer: line[0], Time: event.Time(seconds * 1e6), Name: line[2], Channel: line[3]}
		if value, err := strconv.ParseFloat(line[4], 64); err == nil {
			e.Props = []event.Prop{{Name: "value", Value: event.Float(value)}}
		}
		events = append(events, e)
	}
}

func readCSV(t *testing.T, path string) [][]string {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// exactMarkov reads the first block of the file: conversions by label.
func exactMarkov(t *testing.T) map[string]float64 {
	f, err := os.Open(shared.Path(t, "data", "attribution-pathdata", "exact_markov_order1.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	exact := map[string]float64{}
	lines := bufio.NewScanner(f)
	for n := 0; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if n == 0 {
			continue
		}
		if len(words) != 5 || words[3] != "conversions" {
			break
		}
		exact[words[0]], _ = strconv.ParseFloat(words[4], 64)
	}
	return exact
}

// Removing a label by one inverse is what leaving its transitions out and
// going through the chain step by step gives.
func TestRemovalEffectsByWalkingTheChain(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	for range 60 {
		var events []event.Event
		journeys := map[string][]string{}
		converted := map[string]bool{}
		for c := range 3 + r.IntN(8) {
			customer := fmt.Sprintf("c%d", c)
			for k := range 1 + r.IntN(5) {
				label := string("abc"[r.IntN(3)])
				journeys[customer] = append(journeys[customer], label)
				events = append(events, at(customer, int64(k), "t", label))
			}
			if converted[customer] = r.IntN(2) == 0; converted[customer] {
				events = append(events, at(customer, 100, "C", ""))
			}
		}
		events = append(events, at("bare", 0, "C", "")) // so that the statement knows C
		res := mustRun(t, enginetest.Must(events, enginetest.Options{}), "attribute C to channel using markov, markov(2)")
		for order := 1; order <= 2; order++ {
			effects, all := map[string]float64{}, 0.0
			whole := walk(journeys, converted, order, "")
			for _, label := range []string{"a", "b", "c"} {
				effects[label] = whole - walk(journeys, converted, order, label)
				all += effects[label]
			}
			n := 0.0
			for _, yes := range converted {
				if yes {
					n++
				}
			}
			for _, row := range res.Rows {
				label := row[0].(string)
				want := 0.0
				if n > 0 {
					want = effects[label] / all * n
				}
				if label == "(direct)" {
					want = 1
				}
				if got := row[order].(float64); math.Abs(got-want) > 1e-9 {
					t.Fatalf("order %d, %s: %v, want %v\n%v\n%v", order, label, got, want, journeys, converted)
				}
			}
		}
	}
}

// walk is the probability to convert, found by taking many steps.
func walk(journeys map[string][]string, converted map[string]bool, order int, without string) float64 {
	counts := map[string]map[string]float64{}
	for customer, labels := range journeys {
		state := []string{"", ""}
		count := func(next string) {
			key := strings.Join(state[2-order:], ">")
			if counts[key] == nil {
				counts[key] = map[string]float64{}
			}
			counts[key][next]++
			state = []string{state[1], next}
		}
		for _, label := range labels {
			count(label)
		}
		if converted[customer] {
			count("yes")
		} else {
			count("no")
		}
	}
	at, done := map[string]float64{strings.Repeat(">", order-1): 1}, 0.0
	for range 1000 {
		next := map[string]float64{}
		for state, p := range at {
			all := 0.0
			for _, n := range counts[state] {
				all += n
			}
			for label, n := range counts[state] {
				switch label {
				case "yes":
					done += p * n / all
				case "no", without:
				default:
					to := label
					if order == 2 {
						to = state[strings.LastIndex(state, ">")+1:] + ">" + label
					}
					next[to] += p * n / all
				}
			}
		}
		at = next
	}
	return done
}

func TestAttributionDoesNotDependOnWorkersAndTiles(t *testing.T) {
	events := many(120, 25)
	const text = "attribute A to channel, event by channel top 1 every hour within 40s, 10m using linear, decay(7s), markov, markov(2), shapley value n"
	want := mustRun(t, enginetest.Must(events, enginetest.Options{}), text)
	for _, tiles := range []int{3, 20} {
		got, err := run(enginetest.Must(events, enginetest.Options{Tiles: tiles}), text, engine.RunOptions{Workers: 3})
		if err != nil {
			t.Fatal(err)
		}
		if diff := differ(got, want); diff != "" {
			t.Errorf("%d tiles: %s", tiles, diff)
		}
	}
}

func TestLimitsOfAttribution(t *testing.T) {
	var events []event.Event
	for i := range 1002 {
		events = append(events, at("ann", int64(i), "t", fmt.Sprint("channel ", i)))
	}
	events = append(events, at("ann", 5000, "C", ""))
	snap := enginetest.Must(events, enginetest.Options{})
	for _, c := range []struct {
		text, limit string
		opt         engine.RunOptions
	}{
		{"attribute C to channel using markov", "labels", engine.RunOptions{}},
		{"attribute C to channel using markov(2)", "pairs of labels", engine.RunOptions{}},
		{"attribute C to channel using linear", "labels", engine.RunOptions{Groups: 100}},
		{"attribute C to channel using linear", "memory", engine.RunOptions{MemoryBytes: 60_000}},
		{"attribute C to channel using linear", "rows", engine.RunOptions{Rows: 10}},
		{"attribute C to channel within 4900s using markov", "memory", engine.RunOptions{MemoryBytes: 3 << 20}},
	} {
		_, err := run(snap, c.text, c.opt)
		var limit *engine.LimitError
		if !errors.As(err, &limit) || limit.Limit != c.limit || limit.Hint == "" {
			t.Errorf("%s: %v, want the limit %q", c.text, err, c.limit)
		}
	}
}
