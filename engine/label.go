package engine

import (
	"strings"

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
		of = []*query.ScalarExpr{{Op: "field", Type: event.StringType, Field: "event", Text: "event"}}
	}
	if len(of) > labelPartsMax {
		return nil, &LimitError{Limit: "of", Value: labelPartsMax, Reached: int64(len(of)), Hint: "join fewer expressions"}
	}
	const hint = "label by something that has fewer values, leave events out with where, or raise the limit"
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

func labelText(x event.Value) event.Value {
	if x.IsNull() {
		return event.String("(none)")
	}
	return event.String(x.String())
}

// text returns the label of a code. Not while workers still run.
func (l *labeling) text(code uint32) string { return l.labels.values[code].Text() }

// byEvent reports whether labels are the events' names.
func (l *labeling) byEvent() bool { return len(l.parts) == 1 && l.parts[0].kind == eventField }

// labeler is one worker's side of a labeling.
type labeler struct {
	*labeling
	coders []*coder
	pairs  []map[uint64]uint32 // label so far and code of the next part -> label so far
	place  place
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
	l.place.customer, l.place.row, l.place.last = customer, row, row
	code, err := l.coders[0].code(v, &l.place)
	if err != nil || len(l.coders) == 1 {
		return code, err
	}
	prefix := uint64(code)
	var codes [labelPartsMax]uint32
	codes[0] = code
	for i, c := range l.coders[1:] {
		if codes[i+1], err = c.code(v, &l.place); err != nil {
			return 0, err
		}
		key := prefix<<32 | uint64(codes[i+1])
		next, ok := l.pairs[i][key]
		if !ok {
			if next, err = l.join(codes[:i+2]); err != nil {
				return 0, err
			}
			l.pairs[i][key] = next
		}
		prefix = uint64(next)
	}
	return uint32(prefix), nil
}

// labelPartsMax is how many expressions `of` may join.
const labelPartsMax = 16

// join makes the label of the first parts. The label of fewer than all parts
// is only a stage on the way, but its text tells it apart just as well.
func (l *labeler) join(codes []uint32) (uint32, error) {
	texts := make([]string, len(codes))
	for i, code := range codes {
		d := l.texts[i]
		d.mu.Lock()
		texts[i] = d.values[code].Text()
		d.mu.Unlock()
	}
	return l.labels.code(event.String(strings.Join(texts, " @ ")))
}
