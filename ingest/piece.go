package ingest

import (
	"bytes"
	"fmt"
	"io"
)

const (
	// pieceBytes is how much text a worker gets at once: enough to make the
	// hand-over free, little enough for the caches of two workers.
	pieceBytes = 2 << 20

	// recordBytesMax bounds one record. A quote that is never closed would
	// otherwise take the rest of the file into memory.
	recordBytesMax = 16 << 20
)

// piece is a run of whole records.
type piece struct {
	data  []byte
	line  int64  // line of the file on which it begins, from 1
	skip  int    // records at the beginning that are not data: the header
	fault string // set: the piece is one record that cannot be read
}

// splitter cuts a text into pieces at the ends of records.
type splitter struct {
	r     io.Reader
	delim string // of CSV; "" if a line is a record whatever is in it
	rest  []byte // read, not yet handed out
	line  int64  // of rest's first byte
	ended bool   // r has no more
	skip  bool   // within a record that is too long: drop up to its line's end
	size  int    // pieceBytes, smaller in tests
	limit int    // recordBytesMax, smaller in tests
}

func newSplitter(r io.Reader, delim string) *splitter {
	return &splitter{r: r, delim: delim, line: 1, size: pieceBytes, limit: recordBytesMax}
}

// next returns the next piece, io.EOF after the last. The piece's bytes are
// never written to again.
func (s *splitter) next() (piece, error) {
	for {
		if !s.ended && len(s.rest) < s.size {
			if err := s.read(s.size); err != nil {
				return piece{}, err
			}
		}
		if s.skip {
			if s.dropLine() {
				continue
			}
			if s.ended {
				return piece{}, io.EOF
			}
			continue
		}
		if len(s.rest) == 0 {
			return piece{}, io.EOF
		}
		end, open := s.lastRecordEnd()
		if s.ended && open < 0 {
			end = len(s.rest)
		}
		if end > 0 {
			return s.cut(end), nil
		}
		if s.ended { // a quote at the first record's start is never closed
			return s.faulty(fmt.Sprintf("a quote is opened in column %d and not closed", 1+bytes.Count(s.rest[:open], []byte(s.delim)))), nil
		}
		if len(s.rest) >= s.limit {
			reason := fmt.Sprintf("the record is longer than %d MiB", s.limit>>20)
			if open >= 0 {
				reason += "; a quote is opened and not closed"
			}
			return s.faulty(reason), nil
		}
		if err := s.read(2 * len(s.rest)); err != nil {
			return piece{}, err
		}
	}
}

// read fills rest up to size bytes, in a new array: the old one belongs to the
// piece that was cut off it.
func (s *splitter) read(size int) error {
	grown := make([]byte, len(s.rest), size)
	copy(grown, s.rest)
	for len(grown) < size {
		n, err := s.r.Read(grown[len(grown):size])
		grown = grown[:len(grown)+n]
		if err == io.EOF {
			s.ended = true
			break
		}
		if err != nil {
			return err
		}
	}
	s.rest = grown
	return nil
}

func (s *splitter) cut(end int) piece {
	p := piece{data: s.rest[:end:end], line: s.line}
	s.line += int64(bytes.Count(p.data, []byte{'\n'}))
	s.rest = s.rest[end:]
	return p
}

// faulty makes the first line a record that cannot be read and goes on behind
// it: a lost quote costs one line, not the file.
func (s *splitter) faulty(reason string) piece {
	p := piece{line: s.line, fault: reason}
	s.skip = true
	s.dropLine()
	return p
}

// dropLine drops up to the first line feed, or all there is.
func (s *splitter) dropLine() (found bool) {
	n := bytes.IndexByte(s.rest, '\n')
	if n < 0 {
		s.rest = nil
		return false
	}
	s.rest = s.rest[n+1:]
	s.line++
	s.skip = false
	return true
}

// lastRecordEnd returns the end of the last whole record, and where a quoted
// field is open at the end of what has been read, -1 if none is. The open
// field's record begins at end.
func (s *splitter) lastRecordEnd() (end, open int) {
	if s.delim == "" {
		return bytes.LastIndexByte(s.rest, '\n') + 1, -1
	}
	pos := 0
	for {
		n := bytes.IndexByte(s.rest[pos:], '"')
		if n < 0 {
			if last := bytes.LastIndexByte(s.rest[pos:], '\n'); last >= 0 {
				end = pos + last + 1
			}
			return end, -1
		}
		quote := pos + n
		if last := bytes.LastIndexByte(s.rest[pos:quote], '\n'); last >= 0 {
			end = pos + last + 1
		}
		pos = quote + 1
		if quote > 0 && s.rest[quote-1] != '\n' && !bytes.HasSuffix(s.rest[:quote], []byte(s.delim)) {
			continue // in the middle of a field it stands for itself
		}
		closing, _ := closingQuote(s.rest, quote)
		if closing < 0 {
			return end, quote
		}
		pos = closing + 1
	}
}
