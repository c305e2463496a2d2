package ingest

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
	"unsafe"

	"wend/event"
)

// worker turns pieces of one file into batches, or surveys how the values of
// its columns are written.
type worker struct {
	read    *reading
	types   typing
	csv     bool
	delim   string
	keep    int // rejects to keep of a piece
	rows    rows
	records records
	walker  *walker
	meaning any // the layout or survey that the walker's targets belong to

	unsettled []int // columns that a survey has to look at
	result    *result
}

// result is what became of one piece.
type result struct {
	batches  []*event.Batch
	rejects  []Reject
	rejected int64
	rows     int64   // records, rejected ones included
	layout   *layout // with the properties that this piece was the first to show
}

func newWorker(read reading, types typing, p *part, keep int) *worker {
	clock := *read.clock // each keeps its own memory of zone changes
	read.clock = &clock
	w := &worker{read: &read, types: types, csv: p.csv, delim: p.delim, keep: keep, walker: newWalker()}
	w.rows.read = &read
	return w
}

// parse turns a piece into batches. Properties whose type is not known yet get
// the one that fits all their values in the piece.
func (w *worker) parse(p piece, l *layout) *result {
	for {
		w.result = &result{layout: l}
		if w.tryParse(p, l) {
			return w.result
		}
		s := newSurvey(l)
		w.survey(p, s, -1)
		var more []column
		for i, c := range s.columns {
			if k, ok := l.byName[c.name]; ok && l.columns[k].typ != event.None {
				continue
			}
			if c = w.types.decide(c.name, c.source, s.seen[i]); c.typ != event.None {
				more = append(more, c)
			}
		}
		l = l.with(more...)
	}
}

// tryParse returns false if it met a property of unknown type.
func (w *worker) tryParse(p piece, l *layout) bool {
	if p.fault != "" {
		w.result.rows++
		w.reject(p.line, "", p.fault)
		return true
	}
	w.rows.start(l, bytes.Count(p.data, []byte{'\n'})+1)
	var ok bool
	if w.csv {
		ok = w.parseRecords(p, l)
	} else {
		ok = w.parseObjects(p, l)
	}
	if !ok {
		return false
	}
	w.rows.flush()
	w.result.batches = w.rows.done
	w.rows.done, w.rows.batch = nil, nil
	return true
}

func (w *worker) reject(line int64, column, reason string) {
	w.result.rejected++
	if len(w.result.rejects) < w.keep {
		w.result.rejects = append(w.result.rejects, Reject{Line: line, Column: column, Reason: reason})
	}
}

func (w *worker) parseRecords(p piece, l *layout) bool {
	valid := utf8.Valid(p.data)
	rec := &w.records
	rec.open(p.data, w.delim)
	for skip := p.skip; rec.scan(); {
		if skip > 0 {
			skip--
			continue
		}
		w.result.rows++
		line := p.line + rec.line
		switch {
		case rec.fault != "":
			w.reject(line, "", rec.fault)
			continue
		case len(rec.fields) != len(l.header):
			w.reject(line, "", fmt.Sprintf("the row has %d fields, the header %d", len(rec.fields), len(l.header)))
			continue
		}
		if !valid {
			if bad := rec.invalid(); bad >= 0 {
				w.reject(line, l.header[bad], "the text is not UTF-8: "+quoteShort(rec.field(bad))+"; --encoding names another one")
				continue
			}
		}
		if rec.repeats(l.header) {
			w.reject(line, "", "the header stands here again")
			continue
		}
		if !w.record(line, rec, l) {
			return false
		}
	}
	return true
}

// record makes an event of one record, or rejects it. It returns false if it
// met a property of unknown type.
func (w *worker) record(line int64, rec *records, l *layout) bool {
	w.rows.begin()
	for i, at := range l.at {
		if at < 0 || rec.fields[i].from == rec.fields[i].to {
			continue
		}
		if good, known := w.put(line, at, plain, rec.field(i), l); !good {
			return known
		}
	}
	if good, known := w.putConstants(line, l); !good {
		return known
	}
	var own fields
	for f := range l.fields {
		if at := l.fields[f].at; at >= 0 {
			own[f] = rec.field(at)
		} else {
			own[f] = l.fields[f].text
		}
	}
	w.commit(line, &own, l)
	return true
}

// put stores one property value, or rejects the row.
func (w *worker) put(line int64, at int, k kind, raw string, l *layout) (good, known bool) {
	switch w.rows.set(at, k, raw) {
	case stored:
		return true, true
	case unknown:
		return false, false
	case twice:
		w.reject(line, l.columns[at].source, fmt.Sprintf("the property %q has two values", l.columns[at].name))
	case misfits:
		w.reject(line, l.columns[at].source, misfit(l.columns[at].typ, k, raw))
	}
	w.rows.abandon()
	return false, true
}

func (w *worker) putConstants(line int64, l *layout) (good, known bool) {
	for _, c := range l.constants {
		if good, known = w.put(line, c.column, plain, c.text, l); !good {
			return good, known
		}
	}
	return true, true
}

func (w *worker) commit(line int64, own *fields, l *layout) {
	if f, reason := w.rows.commit(own); reason != "" {
		w.reject(line, l.fields[f].column, reason)
	}
}

// repeats reports whether the record is the header again, as in files that were
// put together.
func (r *records) repeats(header []string) bool {
	if first := r.field(0); len(first) < len(header[0]) || len(first) > 0 && len(header[0]) > 0 && first[0] > ' ' && first[0] != header[0][0] {
		return false
	}
	for i := range r.fields {
		if strings.TrimSpace(r.field(i)) != header[i] {
			return false
		}
	}
	return true
}

// invalid returns the first field that is not UTF-8, -1 if all are.
func (r *records) invalid() int {
	for i := range r.fields {
		if !utf8.ValidString(r.field(i)) {
			return i
		}
	}
	return -1
}

func (w *worker) parseObjects(p piece, l *layout) bool {
	valid := utf8.Valid(p.data)
	for lines := (lines{text: textOf(p.data), line: p.line}); lines.next(); {
		w.result.rows++
		if !valid && !utf8.ValidString(lines.record) {
			w.reject(lines.at, "", "the line is not UTF-8; --encoding names another one")
			continue
		}
		if err := w.walker.walk(lines.record); err != nil {
			w.reject(lines.at, "", err.Error())
			continue
		}
		if !w.object(lines.at, l) {
			return false
		}
	}
	return true
}

// object makes an event of the leaves that were walked over.
func (w *worker) object(line int64, l *layout) bool {
	if w.meaning != any(l) {
		forget(w.walker.root)
		w.meaning = l
	}
	var own fields
	for f := range own {
		own[f] = l.fields[f].text
	}
	w.rows.begin()
	for _, leaf := range w.walker.leaves {
		n := leaf.node
		if n.target == unresolved {
			n.target = l.target(n.name)
		}
		switch {
		case n.target == unresolved:
			return false
		case n.target >= 0:
			if good, known := w.put(line, n.target, leaf.kind, leaf.raw, l); !good {
				return known
			}
		case leaf.kind == jsonBool || leaf.kind == jsonArray:
			w.rows.abandon()
			w.reject(line, n.name, misfit(event.StringType, leaf.kind, leaf.raw))
			return true
		default:
			own[-1-n.target] = leaf.raw
		}
	}
	if good, known := w.putConstants(line, l); !good {
		return known
	}
	w.commit(line, &own, l)
	return true
}

// target says what a JSON name is for: a column, or -1 less a field.
func (l *layout) target(name string) int {
	if f, ok := l.fieldOf[name]; ok {
		return -1 - int(f)
	}
	if i, _ := l.property(name); i >= 0 {
		return i
	}
	return unresolved
}

// forget clears the targets of a node and all below it.
func forget(n *node) {
	n.target = unresolved
	for _, c := range n.children {
		forget(c)
	}
}

// lines are the lines of a piece that have something on them.
type lines struct {
	text   string
	pos    int
	line   int64 // of pos
	at     int64 // the record's line
	record string
}

func (l *lines) next() bool {
	for l.pos < len(l.text) {
		rest := l.text[l.pos:]
		end := strings.IndexByte(rest, '\n')
		next := end + 1
		if end < 0 {
			end, next = len(rest), len(rest)
		}
		l.record, l.at = rest[:end], l.line
		l.pos += next
		l.line++
		if strings.TrimRight(l.record, " \t\r") != "" {
			return true
		}
	}
	return false
}

func textOf(data []byte) string { return unsafe.String(unsafe.SliceData(data), len(data)) }
