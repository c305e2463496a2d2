package ingest

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// sampleBytes is how much of a text is looked at to find out its format, its
// delimiter and its columns.
const sampleBytes = 1 << 20

// prepare looks at the beginning of a part and settles its mapping.
func (r *Reader) prepare(p *part) error {
	text, err := p.open()
	if err != nil {
		return fmt.Errorf("open %s: %w", p.name, err)
	}
	sample, whole, err := readSample(text)
	if err != nil {
		text.Close()
		return fmt.Errorf("read %s: %w", p.name, err)
	}
	if p.stream {
		p.replayed = &stack{Reader: io.MultiReader(bytes.NewReader(sample), text), closers: []func() error{text.Close}}
	} else if err := text.Close(); err != nil && whole {
		return fmt.Errorf("read %s: %w", p.name, err)
	}
	p.mapping.File = p.name
	if len(bytes.TrimSpace(sample)) == 0 && whole {
		p.empty = true
		r.notes = append(r.notes, p.name+" is empty")
		return nil
	}
	if !whole { // the last line may be cut
		sample = sample[:bytes.LastIndexByte(sample, '\n')+1]
	}
	if p.csv, err = r.isCSV(p, sample); err != nil {
		return err
	}
	if p.csv {
		return r.prepareCSV(p, sample)
	}
	return r.prepareJSON(p, sample)
}

// readSample reads the beginning of a text, one line at least.
func readSample(text io.Reader) (sample []byte, whole bool, err error) {
	size := sampleBytes
	for {
		grown := make([]byte, size)
		copy(grown, sample)
		n, err := io.ReadFull(text, grown[len(sample):])
		sample = grown[:len(sample)+n]
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return sample, true, nil
		}
		if err != nil {
			return nil, false, err
		}
		if bytes.IndexByte(sample, '\n') >= 0 {
			return sample, false, nil
		}
		if size *= 2; size > recordBytesMax {
			return nil, false, fmt.Errorf("the first line is longer than %d MiB; is this a text file?", recordBytesMax>>20)
		}
	}
}

// text opens the part for reading from its beginning.
func (p *part) text() (io.ReadCloser, error) {
	if p.stream {
		text := p.replayed
		p.replayed = nil
		return text, nil
	}
	return p.open()
}

// pieces returns the part's pieces; the first one knows of the header.
func (p *part) pieces(text io.Reader, size int) func() (piece, error) {
	s := newSplitter(text, p.delim)
	s.size = size
	first := true
	return func() (piece, error) {
		next, err := s.next()
		if first && err == nil {
			next.skip = p.lead
			first = false
		}
		return next, err
	}
}

func (r *Reader) isCSV(p *part, sample []byte) (bool, error) {
	format := r.opt.Format
	if format == "" {
		format = formatOf(p.path)
	}
	if bytes.HasPrefix(sample, []byte("PAR1")) {
		return false, &MappingError{File: p.name, Message: "the file is Parquet, which is not read; write it as CSV or NDJSON"}
	}
	begin := bytes.TrimLeft(sample, " \t\r\n")
	if format == "" && len(begin) > 0 && (begin[0] == '{' || begin[0] == '[') {
		format = "ndjson"
	}
	switch format {
	case "ndjson", "jsonl", "json":
		if len(begin) > 0 && begin[0] == '[' {
			return false, &MappingError{File: p.name, Message: "the file is one JSON array; write one object a line (jq -c '.[]' does it)"}
		}
		return false, nil
	case "tsv":
		p.delim = "\t"
		return true, nil
	case "csv", "":
		if bytes.IndexByte(sample, 0) >= 0 {
			return false, &MappingError{File: p.name, Message: "the file is not text: it has zero bytes in it; is it UTF-16 (--encoding utf-16) or packed in a way that is not known?"}
		}
		return true, nil
	}
	return false, &MappingError{Message: fmt.Sprintf("format %q is not known; formats are csv, tsv and ndjson", format)}
}

func (r *Reader) prepareCSV(p *part, sample []byte) error {
	p.lead = 1
	if d := r.opt.Delimiter; d != 0 {
		if d == '"' || d == '\n' || d == '\r' || d == utf8.RuneError {
			return &MappingError{Message: fmt.Sprintf("%q cannot be a delimiter", d)}
		}
		p.delim = string(d)
	}
	body := sample
	if line, rest, _ := bytes.Cut(sample, []byte{'\n'}); len(bytes.TrimRight(line, "\r")) == 5 && bytes.HasPrefix(line, []byte("sep=")) {
		p.lead = 2 // Excel's way of naming the delimiter
		body = rest
		if p.delim == "" {
			p.delim = string(line[4])
		}
	}
	if p.delim == "" {
		p.delim = findDelimiter(body)
	}
	var rec records
	rec.open(body, p.delim)
	if !rec.scan() {
		return &MappingError{File: p.name, Message: "the file has no header"}
	}
	if rec.fault != "" {
		return &MappingError{File: p.name, Message: "the header cannot be read: " + rec.fault}
	}
	if len(rec.fields) > propertiesMax+int(fieldCount) { // before anything is made of each of them
		return tooWide(p, len(rec.fields))
	}
	header := make([]string, len(rec.fields))
	for i := range rec.fields {
		name := rec.field(i)
		if !utf8.ValidString(name) {
			return &MappingError{File: p.name, Message: fmt.Sprintf("the header is not UTF-8: %s; --encoding names another one, such as windows-1252", quoteShort(name))}
		}
		header[i] = strings.TrimSpace(strings.Clone(name))
	}
	places, err := mapFields(p.name, header, r.opt, r.reading.clock, false)
	if err != nil {
		return err
	}
	names, notes, err := propertyColumns(p.name, header, &places)
	if err != nil {
		return err
	}
	for _, n := range notes {
		r.notes = append(r.notes, p.name+": "+n)
	}
	l := &layout{fields: places, header: header, byName: map[string]int{}, at: make([]int, len(header))}
	for i, name := range names {
		if l.at[i] = -1; name != "" {
			l.at[i] = len(l.columns)
			l.byName[name] = len(l.columns)
			l.columns = append(l.columns, column{name: name, source: header[i]})
		}
	}
	if len(l.columns) > propertiesMax {
		return tooWide(p, len(header))
	}
	return r.finishLayout(p, l, "csv")
}

// tooWide refuses a header for its columns.
func tooWide(p *part, columns int) error {
	return &MappingError{File: p.name, Message: fmt.Sprintf("the header has %d columns, and a file may have at most %d beyond the fields of an event; does it have a row for each event, and line breaks between them?", columns, propertiesMax)}
}

// finishLayout adds constant properties and fills in the mapping.
func (r *Reader) finishLayout(p *part, l *layout, format string) error {
	for _, name := range sortedKeys(r.opt.Set) {
		if reserved(name) {
			continue
		}
		if _, ok := l.byName[name]; ok {
			return &MappingError{File: p.name, Message: fmt.Sprintf("%s is set to a constant and is a column too", name)}
		}
		l.byName[name] = len(l.columns)
		l.constants = append(l.constants, constant{len(l.columns), r.opt.Set[name]})
		l.columns = append(l.columns, column{name: name, source: name})
	}
	p.layout = l
	p.mapping.Format, p.mapping.Delimiter = format, p.delim
	for f, place := range l.fields {
		switch {
		case place.constant:
			p.mapping.Fields = append(p.mapping.Fields, Field{Name: field(f).String(), Constant: r.opt.Set[field(f).String()]})
		case place.column != "" && (place.at >= 0 || !place.recognised):
			p.mapping.Fields = append(p.mapping.Fields, Field{Name: field(f).String(), Column: place.column, Recognised: place.recognised})
		}
	}
	for _, c := range l.columns {
		p.mapping.Properties = append(p.mapping.Properties, Property{Column: c.source, Name: c.name})
	}
	return nil
}

// findDelimiter takes the delimiter that cuts the most rows of a sample into
// as many fields as the header, and of those the one that makes most fields.
func findDelimiter(sample []byte) string {
	const rowsMax = 50
	best, bestScore := ",", 0
	for _, delim := range []string{",", ";", "\t", "|"} {
		var rec records
		rec.open(sample, delim)
		columns, rows, alike := 0, 0, 0
		for rows < rowsMax && rec.scan() {
			if rows == 0 {
				columns = len(rec.fields)
			}
			rows++
			if len(rec.fields) == columns && rec.fault == "" {
				alike++
			}
		}
		if columns < 2 {
			continue
		}
		if score := alike*10_000/rows*10_000 + min(columns, 9_999); score > bestScore {
			best, bestScore = delim, score
		}
	}
	return best
}

func (r *Reader) prepareJSON(p *part, sample []byte) error {
	w := newWalker()
	var columns []string
	seen := map[string]bool{}
	var first error
	objects := 0
	for lines := (lines{text: textOf(sample)}); lines.next() && objects < 1000; {
		if err := w.walk(lines.record); err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		objects++
		for _, leaf := range w.leaves {
			if name := leaf.node.name; !seen[name] {
				seen[name] = true
				columns = append(columns, name)
			}
		}
	}
	if objects == 0 {
		return &MappingError{File: p.name, Message: fmt.Sprintf("no line at the beginning of the file is a JSON object: %v; write one object a line (jq -c . does it)", first)}
	}
	places, err := mapFields(p.name, columns, r.opt, r.reading.clock, true)
	if err != nil {
		return err
	}
	l := &layout{fields: places, byName: map[string]int{}, fieldOf: map[string]field{}}
	for f, place := range places {
		if place.column != "" {
			l.fieldOf[place.column] = field(f)
		}
	}
	return r.finishLayout(p, l, "ndjson")
}
