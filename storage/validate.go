package storage

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"wend/event"
)

// Limits of an appended event: what fits a log record and a customer's run
// without one event crowding out the rest. Bulk loads are not held to them.
const (
	batchEvents     = 50_000
	eventBytes      = 64 << 10
	eventProperties = 256
	nameBytes       = 128

	// futureMost is how far in the future of the store's clock an appended
	// event's time may lie: senders' clocks are wrong by hours, hardly by days.
	futureMost = 48 * event.Hour
)

// storeProperties is how many properties a store may have: each costs every
// query and every block something. Who sends names that are data has more.
const storeProperties = 10_000

// validate returns the rows that can be stored and why the others cannot.
func (s *Store) validate(b *event.Batch, oldest, latest event.Time) (keep []int, rejected []Rejection) {
	check := newChecker(s.catalog, b)
	for i := range b.Len() {
		reason := check.row(i)
		if reason == "" {
			reason = check.limits(i)
		}
		if reason == "" && b.Time[i] > latest {
			reason = "the time lies more than 48 hours in the future of the store's clock"
		}
		if reason == "" && b.Time[i] < oldest {
			reason = tooOld(oldest)
		}
		if reason != "" {
			rejected = append(rejected, Rejection{i, reason})
			continue
		}
		keep = append(keep, i)
	}
	return keep, rejected
}

// checker says why a batch's rows cannot be stored.
type checker struct {
	batch   *event.Batch
	names   []string // why an event name cannot be stored, by its index
	channel []string
	columns []string
}

func newChecker(c *catalog, b *event.Batch) *checker {
	k := &checker{batch: b}
	for _, n := range b.Names {
		switch {
		case n == "":
			k.names = append(k.names, "the event has no name")
		default:
			k.names = append(k.names, badText("event name", n))
		}
	}
	for _, n := range b.Channels {
		k.channel = append(k.channel, badText("channel", n))
	}
	seen := map[string]event.Type{}
	properties := len(c.properties)
	for i := range b.Columns {
		col := &b.Columns[i]
		reason := c.accepts(col.Name, col.Type)
		if _, known := c.propertyCode[col.Name]; !known {
			if properties++; properties > storeProperties {
				reason = fmt.Sprintf("property %s is one more than the %d that a store may have; put what differs into values, not into names", quoted(col.Name), storeProperties)
			}
		}
		if reason == "" {
			reason = badText("property name", col.Name)
		}
		if reason == "" && col.Name == "" {
			reason = "a property has no name"
		}
		if _, twice := seen[col.Name]; twice {
			reason = fmt.Sprintf("property %s is given twice", quoted(col.Name))
		}
		seen[col.Name] = col.Type
		k.columns = append(k.columns, reason)
	}
	return k
}

// objects reports whether there is anything against a name or a property,
// whichever rows have it.
func (k *checker) objects() bool {
	some := func(reason string) bool { return reason != "" }
	return slices.ContainsFunc(k.names, some) || slices.ContainsFunc(k.channel, some) || slices.ContainsFunc(k.columns, some)
}

func badText(what, s string) string {
	if !utf8.ValidString(s) {
		return fmt.Sprintf("%s %s is not valid UTF-8", what, quoted(s))
	}
	return ""
}

// quoted is a text in the reason of a rejection, of a long one its beginning:
// the answers to batch tokens are kept.
func quoted(s string) string {
	if len(s) > nameBytes {
		return strconv.Quote(s[:nameBytes]) + "…"
	}
	return strconv.Quote(s)
}

// row checks what no stored event may lack.
func (k *checker) row(i int) string {
	b := k.batch
	switch {
	case b.Customer[i] == "":
		return "the event has no customer"
	case !utf8.ValidString(b.Customer[i]):
		return badText("customer", b.Customer[i])
	case b.Time[i] < event.MinTime || b.Time[i] > event.MaxTime:
		return "the time lies outside the years 0001 to 9999"
	case k.names[b.Name[i]] != "":
		return k.names[b.Name[i]]
	case k.channel[b.Channel[i]] != "":
		return k.channel[b.Channel[i]]
	case b.ID != nil && !utf8.ValidString(b.ID[i]):
		return badText("id", b.ID[i])
	}
	for c := range b.Columns {
		col := &b.Columns[c]
		if col.Present != nil && !col.Present[i] {
			continue
		}
		switch {
		case k.columns[c] != "":
			return k.columns[c]
		case col.Type == event.StringType && !utf8.ValidString(col.Texts[i]):
			return badText("property "+quoted(col.Name), col.Texts[i])
		case col.Type == event.FloatType && (math.IsNaN(col.Floats[i]) || math.IsInf(col.Floats[i], 0)):
			return fmt.Sprintf("property %s is not a finite number", quoted(col.Name))
		}
	}
	return ""
}

// limits checks what appended events are held to.
func (k *checker) limits(i int) string {
	b := k.batch
	size := len(b.Customer[i]) + len(b.Names[b.Name[i]]) + len(b.Channels[b.Channel[i]])
	if b.ID != nil {
		size += len(b.ID[i])
	}
	count := 0
	if len(b.Names[b.Name[i]]) > nameBytes {
		return fmt.Sprintf("the event name has %d bytes, the limit is %d", len(b.Names[b.Name[i]]), nameBytes)
	}
	for c := range b.Columns {
		col := &b.Columns[c]
		if col.Present != nil && !col.Present[i] {
			continue
		}
		count++
		if len(col.Name) > nameBytes {
			return fmt.Sprintf("the name of property %q has %d bytes, the limit is %d", col.Name[:32]+"…", len(col.Name), nameBytes)
		}
		size += len(col.Name) + 8
		if col.Type == event.StringType {
			size += len(col.Texts[i])
		}
	}
	switch {
	case count > eventProperties:
		return fmt.Sprintf("the event has %d properties, the limit is %d", count, eventProperties)
	case size > eventBytes:
		return fmt.Sprintf("the event has %d bytes, the limit is %d", size, eventBytes)
	}
	return ""
}
