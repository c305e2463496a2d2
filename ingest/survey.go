package ingest

import (
	"bytes"
	"unicode/utf8"
)

// survey is how the values of a file's columns are written.
type survey struct {
	layout  *layout
	columns []column
	seen    []class
	byName  map[string]int
	rows    int64
}

func newSurvey(l *layout) *survey {
	s := &survey{layout: l, byName: map[string]int{}}
	for _, c := range l.columns {
		s.add(c)
	}
	return s
}

// unsettled appends the columns of a CSV file of which the types are open.
func (s *survey) unsettled(list []int) []int {
	for i, at := range s.layout.at {
		if at >= 0 && !s.seen[at].settled() {
			list = append(list, i)
		}
	}
	return list
}

func (s *survey) add(c column) int {
	s.byName[c.name] = len(s.columns)
	s.columns = append(s.columns, c)
	s.seen = append(s.seen, 0)
	return len(s.columns) - 1
}

// merge adds what another survey of the same file saw.
func (s *survey) merge(o *survey) {
	s.rows += o.rows
	for i, c := range o.columns {
		k, ok := s.byName[c.name]
		if !ok {
			k = s.add(c)
		}
		s.seen[k] |= o.seen[i]
	}
}

// survey looks at the values of a piece, of at most max rows if max is not
// negative. Records that cannot be read are passed over: they will be rejected.
func (w *worker) survey(p piece, s *survey, max int64) {
	if p.fault != "" {
		s.rows++
		return
	}
	if w.csv {
		w.surveyRecords(p, s, max)
	} else {
		w.surveyObjects(p, s, max)
	}
}

func (w *worker) surveyRecords(p piece, s *survey, max int64) {
	l := s.layout
	rec := &w.records
	rec.open(p.data, w.delim)
	w.unsettled = s.unsettled(w.unsettled[:0])
	if rec.plain && max < 0 && p.skip == 0 && len(w.unsettled) <= fewColumns {
		w.surveyLines(p.data, s)
		return
	}
	for skip := p.skip; max != 0 && rec.scan(); {
		if skip > 0 {
			skip--
			continue
		}
		max--
		s.rows++
		if rec.fault != "" || len(rec.fields) != len(l.header) || rec.repeats(l.header) {
			continue
		}
		settled := false
		for _, i := range w.unsettled {
			if value := rec.field(i); value != "" {
				at := l.at[i]
				s.seen[at] |= w.read.classify(plain, value)
				settled = settled || s.seen[at].settled()
			}
		}
		if settled {
			w.unsettled = s.unsettled(w.unsettled[:0])
		}
	}
	for _, c := range l.constants {
		s.seen[c.column] |= w.read.classify(plain, c.text)
	}
}

// fewColumns is up to how many open columns are looked for in a line by themselves.
const fewColumns = 4

// surveyLines is surveyRecords where there are no quotes and few open columns:
// of a line it looks at the number of its fields and at these columns, each
// found from the nearer end. Most columns are settled after a few rows.
func (w *worker) surveyLines(data []byte, s *survey) {
	l := s.layout
	delim, last := w.delim[0], len(l.header)-1
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, lineFeed)
		data = rest
		line = bytes.TrimSuffix(line, carriageReturn)
		if len(line) == 0 {
			continue // a blank line is no record
		}
		s.rows++
		if bytes.Count(line, []byte{delim}) != last || w.headerAgain(line, l) {
			continue
		}
		settled := false
		for _, i := range w.unsettled {
			value := fieldOf(line, delim, i, last)
			if len(value) == 0 {
				continue
			}
			at := l.at[i]
			s.seen[at] |= w.read.classify(plain, textOf(value))
			settled = settled || s.seen[at].settled()
		}
		if settled {
			w.unsettled = s.unsettled(w.unsettled[:0])
		}
	}
	for _, c := range l.constants {
		s.seen[c.column] |= w.read.classify(plain, c.text)
	}
}

var lineFeed, carriageReturn = []byte{'\n'}, []byte{'\r'}

// headerAgain is repeats for a line without quotes.
func (w *worker) headerAgain(line []byte, l *layout) bool {
	if first := l.header[0]; len(first) > 0 && line[0] > ' ' && line[0] != first[0] {
		return false
	}
	w.records.open(line, w.delim)
	return w.records.scan() && w.records.repeats(l.header)
}

// fieldOf returns field i of a line of last+1 fields.
func fieldOf(line []byte, delim byte, i, last int) []byte {
	if i <= last/2 {
		for range i {
			line = line[bytes.IndexByte(line, delim)+1:]
		}
		if end := bytes.IndexByte(line, delim); end >= 0 {
			line = line[:end]
		}
		return line
	}
	for range last - i {
		line = line[:bytes.LastIndexByte(line, delim)]
	}
	return line[bytes.LastIndexByte(line, delim)+1:]
}

func (w *worker) surveyObjects(p piece, s *survey, max int64) {
	l := s.layout
	if w.meaning != any(s) {
		forget(w.walker.root)
		w.meaning = s
	}
	valid := utf8.Valid(p.data)
	for lines := (lines{text: textOf(p.data), line: p.line}); max != 0 && lines.next(); {
		max--
		s.rows++
		if !valid && !utf8.ValidString(lines.record) || w.walker.walk(lines.record) != nil {
			continue
		}
		for _, leaf := range w.walker.leaves {
			n := leaf.node
			if n.target == unresolved {
				if f, ok := l.fieldOf[n.name]; ok {
					n.target = -1 - int(f)
				} else {
					n.target = s.place(n.name)
				}
			}
			if n.target >= 0 && !s.seen[n.target].settled() {
				s.seen[n.target] |= w.read.classify(leaf.kind, leaf.raw)
			}
		}
	}
	for _, c := range l.constants {
		s.seen[c.column] |= w.read.classify(plain, c.text)
	}
}

// place returns the index of a JSON name's column, a new one if need be.
func (s *survey) place(source string) int {
	name := source
	for reserved(name) {
		name += "_"
	}
	if i, ok := s.byName[name]; ok {
		return i
	}
	return s.add(column{name: name, source: source})
}
