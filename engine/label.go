package engine

import (
	"wend/event"
	"wend/query"
)

// labeling gives every event the label that `of` asks for: several values
// joined by " @ ", null as "(none)", its name without `of`. Labels are texts:
// two events whose labels read alike have one label, and one code.
type labeling struct {
	parts  []*coding
	labels *dictionary
	texts  []*dictionary // of the parts, where there are several
}

func (r *run) labeling() (*labeling, error) {
	of := r.plan.Of
	if len(of) == 0 {
		of = []*query.ScalarExpr{{Op: "field", Type: event.StringType, Field: "event"}}
	}
	if len(of) > labelPartsMax {
		return nil, &LimitError{Limit: "of", Value: labelPartsMax, Reached: int64(len(of)), Hint: "join fewer expressions"}
	}
	const hint = "label by something that has fewer values, or leave events out with where"
	l := &labeling{labels: r.dictionary("labels", hint)}
	for _, e := range of {
		d := l.labels
		if len(of) > 1 {
			d = r.dictionary("labels", hint)
			l.texts = append(l.texts, d)
		}
		c, err := r.coding(e, d)
		if err != nil {
			return nil, err
		}
		c.text = labelText
		l.parts = append(l.parts, c)
	}
	return l, nil
}

// absentLabel is the label of null.
const absentLabel = "(none)"

func labelText(x event.Value) event.Value {
	if x.IsNull() {
		return event.String(absentLabel)
	}
	return event.String(x.String())
}

// names returns the labels by the codes that events or channels have in tiles,
// nil if labels are anything else or two codes have one label.
func (l *labeling) names() []string {
	schema := l.parts[0].run.schema
	var of []event.Name
	switch {
	case len(l.parts) > 1:
	case l.parts[0].kind == eventField:
		of = schema.Events
	case l.parts[0].kind == channelField:
		of = schema.Channels
	}
	var names []string
	for code, name := range of {
		text := name.Text
		if l.parts[0].kind == channelField && code == 0 {
			text = absentLabel
		} else if text == absentLabel && l.parts[0].kind == channelField {
			return nil
		}
		names = append(names, text)
	}
	return names
}

// text returns the label of a code. Not while workers still run.
func (l *labeling) text(code uint32) string { return l.labels.values[code].Text() }

// labeler is one worker's side of a labeling.
type labeler struct {
	*labeling
	coders []*coder
	pairs  []map[uint64]uint32 // label so far and code of the next part -> label so far
	place  place
	loaded []uint32 // codes of all rows of the tile, if load could tell them cheaply
	codes  []uint32 // scratch of load
	part   []uint32
}

func (l *labeling) worker() *labeler {
	w := &labeler{labeling: l}
	for i, part := range l.parts {
		w.coders = append(w.coders, part.worker())
		if i > 0 {
			w.pairs = append(w.pairs, map[uint64]uint32{})
		}
	}
	return w
}

// code returns the code of row's label.
func (l *labeler) code(v *view, customer, row int) (uint32, error) {
	if l.loaded != nil {
		return l.loaded[row], nil
	}
	l.place.customer, l.place.row, l.place.last = customer, row, row
	code, err := l.coders[0].code(v, &l.place)
	if err != nil || len(l.coders) == 1 {
		return code, err
	}
	for i, c := range l.coders[1:] {
		part, err := c.code(v, &l.place)
		if err != nil {
			return 0, err
		}
		key := uint64(code)<<32 | uint64(part)
		next, ok := l.pairs[i][key]
		if !ok {
			if next, err = l.join(i, code, part); err != nil {
				return 0, err
			}
			l.pairs[i][key] = next
		}
		code = next
	}
	return code, nil
}

// load looks up the codes of all rows of a tile at once, where labels are
// columns that are codes already.
func (l *labeler) load(v *view) error {
	l.loaded = nil
	for _, c := range l.coders {
		if c.kind == anyExpression {
			return nil
		}
	}
	if cap(l.codes) < v.Rows {
		l.codes, l.part = make([]uint32, v.Rows), make([]uint32, v.Rows)
	}
	codes := l.codes[:v.Rows]
	if err := l.coders[0].decode(v, codes); err != nil {
		return err
	}
	for i, c := range l.coders[1:] {
		part := l.part[:v.Rows]
		if err := c.decode(v, part); err != nil {
			return err
		}
		last, joined := ^uint64(0), uint32(0)
		for row := range codes {
			key := uint64(codes[row])<<32 | uint64(part[row])
			if key != last {
				next, ok := l.pairs[i][key]
				if !ok {
					var err error
					if next, err = l.join(i, codes[row], part[row]); err != nil {
						return err
					}
					l.pairs[i][key] = next
				}
				last, joined = key, next
			}
			codes[row] = joined
		}
	}
	l.loaded = codes
	return nil
}

// labelPartsMax is how many expressions of may join.
const labelPartsMax = 16

// join makes the label of the first i+1 parts and one more. A label of fewer
// than all parts is only a stage on the way, but its text tells it apart just
// as well.
func (l *labeler) join(i int, prefix, part uint32) (uint32, error) {
	first := l.labels
	if i == 0 {
		first = l.texts[0]
	}
	return l.labels.code(event.String(first.value(prefix).Text() + " @ " + l.texts[i+1].value(part).Text()))
}
