package ingest

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strings"
	"unsafe"
)

// records reads the records of one piece of a CSV file: fields between
// delimiters, ended by line feeds with or without a carriage return before
// them. A field that begins with a quote ends at the next quote that is not
// doubled; a quote elsewhere stands for itself. Blank lines are passed over.
//
// encoding/csv would do, but for one thing: it copies every record. Here the
// fields are slices of the piece, and lines without quotes are searched eight
// bytes at a time.
type records struct {
	data  []byte
	text  string // the same bytes
	pos   int
	delim string
	wide  uint64 // the delimiter in each of eight bytes, if it is a single one
	plain bool   // no quote in the whole piece
	eol   int    // the first line feed at or after the latest place that was asked for

	line     int64 // of the record last read, counted from 0 in the piece
	nextLine int64
	fields   []span
	undone   []string // fields whose doubled quotes were undone
	fault    string   // why the record cannot be used, "" if it can
}

// span is where a field's text lies: in the piece, or, if to is negative, at
// undone[from]. Spans rather than strings, because a worker writes millions of
// them, and writes of pointers slow down while garbage is collected.
type span struct{ from, to int32 }

// field returns the text of field i of the record last read.
func (r *records) field(i int) string {
	s := r.fields[i]
	if s.to < 0 {
		return r.undone[s.from]
	}
	return r.text[s.from:s.to]
}

// open starts on a new piece.
func (r *records) open(data []byte, delim string) {
	r.data, r.text, r.pos = data, unsafe.String(unsafe.SliceData(data), len(data)), 0
	r.delim, r.wide = delim, uint64(delim[0])*ones
	r.plain = len(delim) == 1 && bytes.IndexByte(data, '"') < 0
	r.line, r.nextLine, r.fault, r.eol = 0, 0, "", -1
}

const (
	ones     = 0x0101010101010101
	low7     = 0x7f7f7f7f7f7f7f7f
	newlines = '\n' * ones
	quotes   = '"' * ones
)

// equalBytes has the top bit set in each byte of word that equals pattern's.
func equalBytes(word, pattern uint64) uint64 {
	x := word ^ pattern
	return ^((x&low7 + low7) | x | low7)
}

// scan reads the next record into fields, or sets fault. It returns false at
// the end of the piece.
func (r *records) scan() bool {
	r.fault = ""
	for r.pos < len(r.data) {
		r.line = r.nextLine
		blank := false
		switch {
		case r.plain:
			blank = r.scanPlain()
		case len(r.delim) == 1:
			blank = r.scanLine()
		default:
			blank = r.scanCarefully()
		}
		if !blank {
			return true
		}
	}
	return false
}

// scanPlain reads a line where there are no quotes to look out for.
func (r *records) scanPlain() (blank bool) {
	fields := r.fields[:0]
	data, from, i := r.data, r.pos, r.pos
	end := len(data)
	if n := bytes.IndexByte(data[i:], '\n'); n >= 0 {
		end = i + n
	}
	for ; i+8 <= end; i += 8 {
		for found := equalBytes(binary.LittleEndian.Uint64(data[i:]), r.wide); found != 0; found &= found - 1 {
			at := i + bits.TrailingZeros64(found)>>3
			fields = append(fields, span{int32(from), int32(at)})
			from = at + 1
		}
	}
	for delim := r.delim[0]; i < end; i++ {
		if data[i] == delim {
			fields = append(fields, span{int32(from), int32(i)})
			from = i + 1
		}
	}
	return r.endLine(fields, from, end)
}

// scanLine reads a record whose quoted fields have no quotes within, and hands
// any other on.
func (r *records) scanLine() (blank bool) {
	fields := r.fields[:0]
	data, start, from := r.data, r.pos, r.pos
	delim := r.delim[0]
	quoted := false
	i := start
words:
	for i+8 <= len(data) {
		word := binary.LittleEndian.Uint64(data[i:])
		found := equalBytes(word, r.wide) | equalBytes(word, newlines) | equalBytes(word, quotes)
		for ; found != 0; found &= found - 1 {
			at := i + bits.TrailingZeros64(found)>>3
			switch data[at] {
			case delim:
				fields = append(fields, span{int32(from), int32(at)})
				from = at + 1
			case '\n':
				blank = r.endLine(fields, from, at)
				if quoted {
					r.countLines(start)
				}
				return blank
			default:
				if at > from {
					continue // in the middle of a field it stands for itself
				}
				end, doubled := closingQuote(data, at)
				if end < 0 || doubled || end+1 == len(data) {
					return r.scanCarefully()
				}
				switch next := data[end+1]; {
				case next == delim:
					fields = append(fields, span{int32(at + 1), int32(end)})
					quoted = true
					from = end + 2
					i = from
					continue words
				case next == '\n' || next == '\r' && end+2 < len(data) && data[end+2] == '\n':
					r.fields = append(fields, span{int32(at + 1), int32(end)})
					r.pos = end + 2
					if next == '\r' {
						r.pos++
					}
					r.countLines(start)
					return false
				}
				return r.scanCarefully()
			}
		}
		i += 8
	}
	for ; i < len(data); i++ {
		switch data[i] {
		case delim:
			fields = append(fields, span{int32(from), int32(i)})
			from = i + 1
		case '\n':
			blank = r.endLine(fields, from, i)
			if quoted {
				r.countLines(start)
			}
			return blank
		case '"':
			return r.scanCarefully()
		}
	}
	blank = r.endLine(fields, from, len(data))
	if quoted {
		r.countLines(start)
	}
	return blank
}

// countLines counts the lines of the record from start to pos, which quoted
// fields may have made several.
func (r *records) countLines(start int) {
	r.nextLine = r.line + int64(bytes.Count(r.data[start:r.pos], []byte{'\n'}))
}

// endLine closes a record whose last field is [from, at).
func (r *records) endLine(fields []span, from, at int) (blank bool) {
	end := at
	if end > from && r.data[end-1] == '\r' {
		end--
	}
	r.fields = append(fields, span{int32(from), int32(end)})
	r.pos = min(at+1, len(r.data))
	r.nextLine = r.line + 1
	return len(fields) == 0 && from == end
}

// scanCarefully reads a record that has quotes in it or a delimiter of several
// bytes.
func (r *records) scanCarefully() (blank bool) {
	r.fields, r.undone = r.fields[:0], r.undone[:0]
	i := r.pos
	quoted := false
	for {
		if i < len(r.text) && r.text[i] == '"' {
			quoted = true
			end, doubled := closingQuote(r.data, i)
			if end < 0 {
				r.fault = "a quote is opened and not closed"
				end = len(r.text) - 1
			}
			field := span{int32(i + 1), int32(max(i+1, end))}
			if doubled {
				value := r.text[field.from:field.to]
				field = span{int32(len(r.undone)), -1}
				r.undone = append(r.undone, strings.ReplaceAll(value, `""`, `"`))
			}
			i = end + 1
			next := i
			if !strings.HasPrefix(r.text[i:], r.delim) {
				next = r.fieldEnd(i)
			}
			after := r.text[i:next]
			if next == len(r.text) || r.text[next] == '\n' {
				after = strings.TrimSuffix(after, "\r")
			}
			if after != "" && r.fault == "" {
				r.fault = "text follows a closing quote; a quote inside a quoted field is written twice"
			}
			i = next
			r.fields = append(r.fields, field)
		} else {
			end := r.fieldEnd(i)
			value := r.text[i:end]
			if end == len(r.text) || r.text[end] == '\n' {
				value = strings.TrimSuffix(value, "\r")
			}
			r.fields = append(r.fields, span{int32(i), int32(i + len(value))})
			i = end
		}
		if i >= len(r.text) || r.text[i] == '\n' {
			break
		}
		i += len(r.delim)
	}
	end := min(i+1, len(r.text))
	start := r.pos
	r.pos = end
	r.countLines(start)
	return !quoted && len(r.fields) == 1 && r.fields[0].from == r.fields[0].to
}

// fieldEnd finds the delimiter or line feed that ends an unquoted field. It is
// asked for ever later places of a piece, so that the end of a long line with
// many fields need be found only once.
func (r *records) fieldEnd(from int) int {
	if r.eol < from {
		r.eol = len(r.text)
		if n := strings.IndexByte(r.text[from:], '\n'); n >= 0 {
			r.eol = from + n
		}
	}
	if n := strings.Index(r.text[from:r.eol], r.delim); n >= 0 {
		return from + n
	}
	return r.eol
}

// closingQuote finds the quote that ends the quoted field whose opening quote
// is data[open], -1 if there is none, and whether there are doubled quotes
// between them.
func closingQuote(data []byte, open int) (end int, doubled bool) {
	for i := open + 1; i < len(data); {
		n := bytes.IndexByte(data[i:], '"')
		if n < 0 {
			return -1, doubled
		}
		i += n
		if i+1 < len(data) && data[i+1] == '"' {
			doubled = true
			i += 2
			continue
		}
		return i, doubled
	}
	return -1, doubled
}
