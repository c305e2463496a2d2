package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"wend/event"
)

// describeOperator answers `describe NAME`: everything that the name stands
// for, event, channel, property or definition, with what the data says of it.
// Each fact is a row.
type describeOperator struct {
	event, channel, property int // codes and index, -1 if the name is none
	definition               *event.Definition
}

func newDescribe(r *run) (operator, error) {
	o := &describeOperator{event: -1, channel: -1, property: -1}
	r.ordered = false
	name := r.plan.Describe
	if i, ok := r.schema.Event(name); ok {
		o.event = i
		r.needChannel()
		for p := range r.schema.Properties {
			r.needProperty(p)
		}
	}
	if i, ok := r.schema.Channel(name); ok && name != "" {
		o.channel = i
		r.needChannel()
	}
	if i, ok := r.schema.Property(name); ok {
		o.property = i
		r.needProperty(i)
	}
	for _, d := range r.snap.Definitions() {
		if d.Name == name {
			o.definition = &d
		}
	}
	return o, nil
}

func (o *describeOperator) explain(r *run) PlanNode {
	return PlanNode{Operator: "describe", Detail: r.plan.Describe}
}

// occurrence is how often something was seen, by how many customers, when, and
// together with what.
type occurrence struct {
	events, customers int64
	first, last       event.Time
	with              map[string]int64
}

func (o *occurrence) seen(t event.Time) {
	if o.events == 0 {
		o.first, o.last = t, t
	}
	o.first, o.last = min(o.first, t), max(o.last, t)
	o.events++
}

func (o *occurrence) note(with string) {
	if o.with == nil {
		o.with = map[string]int64{}
	}
	o.with[with]++
}

func (o *occurrence) add(p *occurrence) {
	if p.events == 0 {
		return
	}
	if o.events == 0 {
		o.first, o.last = p.first, p.last
	}
	o.events, o.customers = o.events+p.events, o.customers+p.customers
	o.first, o.last = min(o.first, p.first), max(o.last, p.last)
	for name, n := range p.with {
		if o.with == nil {
			o.with = map[string]int64{}
		}
		o.with[name] += n
	}
}

type describeWorker struct {
	*describeOperator
	byEvent, byChannel, byProperty occurrence
	filled                         map[string]int64 // of the event: properties that it carries
	values                         map[event.Value]int64
	memory                         ration
}

func (o *describeOperator) run(r *run) (*Result, error) {
	res := &Result{Columns: []Column{{"fact", String}, {"value", String}}}
	res.Meta.Unit = "events"
	fact := func(name, value string) { res.Rows = append(res.Rows, []Cell{name, value}) }
	if d := o.definition; d != nil {
		fact("kind", d.Kind)
		fact("definition", d.Text)
	}
	if slices.Contains(event.Reserved, r.plan.Describe) {
		typ := event.StringType
		if r.plan.Describe == "time" {
			typ = event.TimeType
		}
		fact("kind", "field of every event")
		fact("type", typ.String())
	}
	if o.event < 0 && o.channel < 0 && o.property < 0 {
		if len(res.Rows) == 0 {
			r.warn(fmt.Sprintf("nothing is called %q", r.plan.Describe))
		}
		return res, nil
	}
	ws, err := scan(r, func() (*describeWorker, error) {
		return &describeWorker{describeOperator: o, filled: map[string]int64{}, values: map[event.Value]int64{}, memory: ration{budget: r.memory}}, nil
	})
	if err != nil {
		return nil, err
	}
	all := ws[0]
	for _, w := range ws[1:] {
		all.byEvent.add(&w.byEvent)
		all.byChannel.add(&w.byChannel)
		all.byProperty.add(&w.byProperty)
		for name, n := range w.filled {
			all.filled[name] += n
		}
		for x, n := range w.values {
			all.values[x] += n
		}
	}
	if o.event >= 0 {
		fact("kind", "event")
		all.byEvent.facts(fact)
		if text := mostFrequent(all.byEvent.with); text != "" {
			fact("channels", text)
		}
		if text := mostFrequent(all.filled); text != "" {
			fact("properties", text)
		}
	}
	if o.channel >= 0 {
		fact("kind", "channel")
		all.byChannel.facts(fact)
		fact("events seen", mostFrequent(all.byChannel.with))
	}
	if o.property >= 0 {
		fact("kind", "property")
		fact("type", r.schema.Properties[o.property].Type.String())
		all.byProperty.facts(fact)
		fact("distinct values", strconv.Itoa(len(all.values)))
		all.valueFacts(fact)
	}
	return res, nil
}

func (w *describeWorker) visit(v *view) error {
	column := v.column(max(0, w.property))
	for c := range v.Customers() {
		lo, hi := v.extent(c)
		var any [3]bool
		for i := lo; i < hi; i++ {
			if err := v.tick(1); err != nil {
				return err
			}
			if w.event >= 0 && int(v.Event.At(i)) == w.event {
				any[0] = true
				w.byEvent.seen(v.Time.At(i))
				if code := v.Channel.At(i); code != 0 {
					w.byEvent.note(v.run.schema.Channels[code].Text)
				}
				for p := range v.Columns {
					if col := v.column(p); col != nil && col.Present.Get(i) {
						w.filled[v.run.schema.Properties[p].Name]++
					}
				}
			}
			if w.channel >= 0 && int(v.Channel.At(i)) == w.channel {
				any[1] = true
				w.byChannel.seen(v.Time.At(i))
				w.byChannel.note(v.run.schema.Events[v.Event.At(i)].Text)
			}
			if w.property >= 0 && column != nil && column.Present.Get(i) {
				any[2] = true
				w.byProperty.seen(v.Time.At(i))
				x := column.At(i)
				if _, ok := w.values[x]; !ok {
					if err := w.memory.take(entryBytes + int64(len(x.Text()))); err != nil {
						return err
					}
				}
				w.values[x]++
			}
		}
		for k, o := range []*occurrence{&w.byEvent, &w.byChannel, &w.byProperty} {
			o.customers += int64(truth(any[k]))
		}
		if err := v.tick(hi - lo); err != nil {
			return err
		}
	}
	return nil
}

func (o *occurrence) facts(fact func(name, value string)) {
	fact("events", strconv.FormatInt(o.events, 10))
	fact("customers", strconv.FormatInt(o.customers, 10))
	if o.events > 0 {
		fact("first", o.first.String())
		fact("last", o.last.String())
	}
}

// valueFacts tells the least and the greatest value, and of texts and
// booleans the most frequent ones.
func (w *describeWorker) valueFacts(fact func(name, value string)) {
	if len(w.values) == 0 {
		return
	}
	var least, most event.Value
	texts := map[string]int64{}
	for x, n := range w.values {
		if least.IsNull() || event.Compare(x, least) < 0 {
			least = x
		}
		if most.IsNull() || event.Compare(x, most) > 0 {
			most = x
		}
		if x.Type() == event.StringType || x.Type() == event.BooleanType {
			texts[x.String()] += n
		}
	}
	if len(texts) > 0 {
		fact("most frequent", mostFrequent(texts))
		return
	}
	fact("least", least.String())
	fact("greatest", most.String())
}

// describedMax is how many names a fact lists; it says how many there are.
const describedMax = 10

// mostFrequent writes the most frequent names with their counts.
func mostFrequent(counts map[string]int64) string {
	names := make([]string, 0, len(counts))
	for name := range counts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	var b strings.Builder
	for i, name := range names {
		if i == describedMax {
			fmt.Fprintf(&b, " … %d in all", len(names))
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%d)", name, counts[name])
	}
	return b.String()
}
