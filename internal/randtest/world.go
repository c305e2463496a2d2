// Package randtest makes random journeys and random statements over them, for
// comparing the engine with the reference evaluator. Everything follows from a
// seed: one world of journeys, several statements on it.
//
// It generates and shrinks; what a difference is, its callers decide.
package randtest

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"wend/event"
)

// World is a small store: events in order of arrival, links, definitions.
type World struct {
	Events      []event.Event
	Links       map[string]string
	Definitions []event.Definition
	EndOfData   event.Time // earlier than the newest event if clocks were ahead

	unit     event.Duration // the usual distance of events; windows are some of it
	begin    event.Time
	months   bool // customers begin and go on months apart
	names    []string
	channels []string
	groups   []string // of channels
	alts     []string // touchpoints and stages
	segments []string
	funnels  []string
	props    []property
}

type property struct {
	name   string
	typ    event.Type
	values []event.Value
}

// origin is when the events of most worlds begin: late enough in January for
// a burst or two before the first month ends.
var origin = event.At(time.Date(2025, 1, 27, 21, 30, 0, 0, time.UTC))

// begins are that and hours before clocks change, in Europe and America.
var begins = []event.Time{origin, origin,
	event.At(time.Date(2025, 3, 29, 22, 30, 0, 0, time.UTC)),
	event.At(time.Date(2025, 10, 25, 22, 30, 0, 0, time.UTC)),
	event.At(time.Date(2025, 11, 2, 3, 30, 0, 0, time.UTC)),
}

var (
	eventNames   = []string{"A", "B", "C", "X", "view", "add_to_cart", "größe_gewählt", "購入", "sign up", "order"}
	channelNames = []string{"web", "app", "store", "call center", "Straße"}
	units        = []event.Duration{event.Second, event.Second, event.Minute, event.Hour, 6 * event.Hour, event.Day}
	properties   = []property{
		{"value", event.IntegerType, []event.Value{event.Integer(0), event.Integer(1), event.Integer(2), event.Integer(5), event.Integer(-3), event.Integer(1<<53 + 1)}},
		{"price", event.FloatType, []event.Value{event.Float(0), event.Float(0.5), event.Float(2), event.Float(9.25), event.Float(math.Copysign(0, -1)), event.Float(-1.5), event.Float(1e18)}},
		{"tier", event.StringType, []event.Value{event.String("gold"), event.String("silver"), event.String("grün"), event.String("a%b_c"), event.String("")}},
		{"flag", event.BooleanType, []event.Value{event.Boolean(true), event.Boolean(false)}},
		{"due", event.TimeType, []event.Value{event.Instant(origin), event.Instant(origin + 86400e6), event.Instant(origin + 40*86400e6 + 1)}},
		{"ship.to", event.StringType, []event.Value{event.String("DE"), event.String("FR")}},
		{"名前", event.StringType, []event.Value{event.String("山"), event.String("川")}},
	}
)

// NewWorld makes the world of a seed.
func NewWorld(seed, index uint64) *World {
	r := rand.New(rand.NewPCG(seed, index*2))
	return newWorld(r, 1+r.IntN(10))
}

// NewCrowd makes a world of many customers with few events each.
func NewCrowd(seed uint64, customers int) *World {
	return newWorld(rand.New(rand.NewPCG(seed, 3)), customers)
}

func newWorld(r *rand.Rand, customers int) *World {
	w := &World{Links: map[string]string{}, unit: pick(r, units), begin: pick(r, begins), months: r.IntN(4) > 0}
	w.names = some(r, eventNames, 2+r.IntN(4))
	w.channels = some(r, channelNames, 1+r.IntN(3))
	for _, p := range properties {
		if r.IntN(3) > 0 {
			p.values = some(r, p.values, 1+r.IntN(len(p.values)))
			w.props = append(w.props, p)
		}
	}
	for c := range customers {
		w.addCustomer(r, c, customers > 100)
	}
	if r.IntN(3) > 0 {
		r.Shuffle(len(w.Events), func(i, j int) { w.Events[i], w.Events[j] = w.Events[j], w.Events[i] })
	}
	if e := &w.Events[0]; len(e.Props) == 0 {
		e.Props = []event.Prop{{Name: "value", Value: event.Integer(1)}} // so that there is one property
		w.props = append(w.props, properties[0])
	}
	if r.IntN(2) == 0 {
		for i := range w.Events {
			w.Events[i].ID = fmt.Sprintf("e%d", i)
		}
	}
	w.prune()
	for _, e := range w.Events {
		w.EndOfData = max(w.EndOfData, e.Time)
	}
	if r.IntN(12) == 0 {
		// The rest was sent by clocks ahead of ours, by no more than is taken.
		w.EndOfData = max(pick(r, w.Events).Time, w.EndOfData.Add(-48*event.Hour))
	}
	if r.IntN(3) > 0 {
		w.define(r)
	}
	return w
}

// addCustomer makes one journey: bursts of events, at coarse times for some
// customers so that many are equal, repeating one entry for others.
func (w *World) addCustomer(r *rand.Rand, c int, short bool) {
	identities := []string{fmt.Sprintf("c%d", c)}
	if r.IntN(10) == 0 {
		identities = append(identities, fmt.Sprintf("anon-%d", c))
		w.Links[identities[1]] = identities[0]
		if r.IntN(2) == 0 {
			identities = append(identities, fmt.Sprintf("gerät-%d", c))
			w.Links[identities[2]] = identities[1]
		}
	}
	n := 1 + r.IntN(20)
	switch r.IntN(40) {
	case 0:
		n = 60 + r.IntN(141)
	case 1, 2, 3, 4:
		n = 1 + r.IntN(3)
	}
	if short {
		n = 1 + r.IntN(4)
	}
	equal, repeats, jitter := r.IntN(10) < 3, r.IntN(10) < 3, r.IntN(8) == 0
	at := w.begin.Add(event.Duration(r.IntN(40)) * w.unit)
	if w.months && r.IntN(2) == 0 {
		at = at.Add(event.Duration(r.IntN(100)) * event.Day)
	}
	for range n {
		switch {
		case equal && r.IntN(2) == 0:
		case w.months && r.IntN(25) == 0:
			at = at.Add(event.Duration(20+r.IntN(20)) * event.Day) // another month
		default:
			at = at.Add(event.Duration(r.IntN(5)) * w.unit)
		}
		e := event.Event{Customer: pick(r, identities), Time: at, Name: pick(r, w.names)}
		if repeats && r.IntN(3) == 0 {
			e.Name = w.names[0]
		}
		if jitter {
			e.Time += event.Time(r.IntN(3) - 1)
		}
		if r.IntN(4) > 0 {
			e.Channel = pick(r, w.channels)
		}
		for _, p := range w.props {
			if r.IntN(4) > 0 {
				e.Props = append(e.Props, event.Prop{Name: p.name, Value: pick(r, p.values)})
			}
		}
		slices.SortFunc(e.Props, func(a, b event.Prop) int { return strings.Compare(a.Name, b.Name) })
		w.Events = append(w.Events, e)
	}
}

// prune forgets the names that no event carries: the binder does not know them.
func (w *World) prune() {
	names, channels, props := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, e := range w.Events {
		names[e.Name], channels[e.Channel] = true, true
		for _, p := range e.Props {
			props[p.Name] = true
		}
	}
	w.names = slices.DeleteFunc(w.names, func(n string) bool { return !names[n] })
	w.channels = slices.DeleteFunc(w.channels, func(n string) bool { return !channels[n] })
	w.props = slices.DeleteFunc(w.props, func(p property) bool { return !props[p.name] })
}

// define adds definitions of every kind. Stages and groups of channels do not
// overlap: an event in two stages is an error.
func (w *World) define(r *rand.Rand) {
	g := &gen{r: r, w: w}
	add := func(kind, name, body string) {
		w.Definitions = append(w.Definitions, event.Definition{Kind: kind, Name: name, Text: "define " + kind + " " + nameText(name) + " as " + body})
	}
	add("touchpoint", "contact", g.touch()+" | "+g.touch())
	w.alts = append(w.alts, "contact")
	if len(w.names) > 1 {
		add("stage", "early", nameText(w.names[0]))
		add("stage", "späte_phase", nameText(w.names[1]))
		w.alts = append(w.alts, "early", "späte_phase")
	}
	if len(w.channels) > 1 {
		group := nameText(w.channels[0])
		if len(w.channels) > 2 {
			group += ", " + nameText(w.channels[1])
		}
		add("channels", "offline", group)
		w.groups = append(w.groups, "offline")
	}
	add("segment", "regulars", g.cohort(1))
	w.segments = append(w.segments, "regulars")
	add("segment", "others", g.cohort(2))
	w.segments = append(w.segments, "others")
	p := g.pattern()
	add("funnel", "buying", p.String()+g.options())
	w.funnels = append(w.funnels, "buying")
}

// clone copies what shrinking changes.
func (w *World) clone() *World {
	c := *w
	c.Events, c.Definitions, c.Links = slices.Clone(w.Events), slices.Clone(w.Definitions), maps.Clone(w.Links)
	return &c
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func some[T any](r *rand.Rand, list []T, n int) []T {
	picked := slices.Clone(list)
	r.Shuffle(len(picked), func(i, j int) { picked[i], picked[j] = picked[j], picked[i] })
	return picked[:min(n, len(picked))]
}
