package ingest

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// part is one text to read: a file, a member of an archive, or standard input.
type part struct {
	name   string // as messages show it: file, or file:member
	path   string // decides the format by how it ends
	stream bool   // can be read only once
	bytes  int64  // compressed size, 0 if unknown
	open   func() (io.ReadCloser, error)

	csv      bool
	delim    string
	lead     int // records before the first row: the header, and Excel's sep= line
	empty    bool
	layout   *layout
	mapping  Mapping
	replayed io.ReadCloser // of a stream: what is left, after the sample was put back
}

// SourceError says that what was named is no table, however it is read.
type SourceError struct {
	File    string
	Message string
}

// Error implements error.
func (e *SourceError) Error() string { return e.File + ": " + e.Message }

// errZipStream is made a SourceError by who knows the name.
var errZipStream = errors.New("a zip archive can be read from a file only; its directory stands at the end")

// findParts lists what the paths contain. "-" is stdin.
func (r *Reader) findParts(ctx context.Context, paths []string, stdin io.Reader) error {
	var seen []os.FileInfo
	for _, p := range paths {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p == "-" {
			if stdin == nil {
				return &SourceError{p, "there is no standard input to read, or it is named twice"}
			}
			from := io.NopCloser(stdin)
			r.addStream(ctx, "standard input", p, func() (io.ReadCloser, error) { return from, nil })
			stdin = nil
			continue
		}
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return &SourceError{p, "this is a folder; name the files in it"}
		}
		if !info.Mode().IsRegular() {
			r.addStream(ctx, p, p, func() (io.ReadCloser, error) { return os.Open(p) })
			continue
		}
		if slices.ContainsFunc(seen, func(other os.FileInfo) bool { return os.SameFile(info, other) }) {
			r.notes = append(r.notes, p+" is named twice and read once")
			continue
		}
		seen = append(seen, info)
		zipped, err := isZip(p)
		if err != nil {
			return err
		}
		if zipped {
			var none *SourceError
			if err := r.findMembers(p, info.Size()); errors.As(err, &none) {
				return none
			} else if err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
			continue
		}
		r.parts = append(r.parts, &part{name: p, path: p, bytes: info.Size(), open: func() (io.ReadCloser, error) { return r.openFile(p) }})
	}
	return nil
}

// addStream adds what may keep its reader waiting, such as a pipe, until ctx
// ends; opening one may have to wait, too.
func (r *Reader) addStream(ctx context.Context, name, path string, open func() (io.ReadCloser, error)) {
	r.parts = append(r.parts, &part{name: name, path: path, stream: true, open: func() (io.ReadCloser, error) {
		out, in := io.Pipe()
		stop := context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })
		go func() {
			defer stop()
			from, err := open()
			if err == nil {
				_, err = io.Copy(in, countingReader{from, &r.read})
				from.Close()
			}
			in.CloseWithError(err) // nil is the end of the stream
		}()
		return r.expand(out)
	}})
}

func (r *Reader) openFile(name string) (io.ReadCloser, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return r.expand(struct {
		io.Reader
		io.Closer
	}{countingReader{f, &r.read}, f})
}

func isZip(name string) (bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var magic [4]byte
	n, err := io.ReadFull(f, magic[:])
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return false, err
	}
	return string(magic[:n]) == zipMagic || string(magic[:n]) == zipEmpty, nil
}

// findMembers lists the tables in an archive.
func (r *Reader) findMembers(name string, size int64) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	r.files = append(r.files, f)
	archive, err := zip.NewReader(countingReaderAt{f, &r.read}, size)
	if err != nil {
		return err
	}
	found := 0
	for _, m := range archive.File {
		if m.Name == "[Content_Types].xml" || m.Name == "content.xml" {
			return &SourceError{name, "this is a document of an office program; save the table in it as CSV"}
		}
		base := path.Base(m.Name)
		if m.FileInfo().IsDir() || strings.HasPrefix(base, ".") || strings.HasPrefix(m.Name, "__MACOSX/") {
			continue
		}
		if formatOf(m.Name) == "" {
			r.notes = append(r.notes, fmt.Sprintf("%s: %s was left out: its name does not end like a table's (csv, tsv, txt, ndjson, jsonl)", name, m.Name))
			continue
		}
		found++
		r.parts = append(r.parts, &part{name: name + ":" + m.Name, path: m.Name, bytes: int64(m.CompressedSize64),
			open: func() (io.ReadCloser, error) {
				text, err := m.Open()
				if err != nil {
					return nil, err
				}
				return r.expand(text)
			}})
	}
	if found == 0 {
		return &SourceError{name, "the archive has no table in it (csv, tsv, txt, ndjson, jsonl)"}
	}
	return nil
}

// formatOf tells the format by how a name ends, "" if it does not tell.
func formatOf(name string) string {
	name = strings.ToLower(name)
	for _, packed := range []string{".gz", ".zst", ".zstd"} {
		name = strings.TrimSuffix(name, packed)
	}
	switch path.Ext(name) {
	case ".csv", ".txt":
		return "csv"
	case ".tsv", ".tab":
		return "tsv"
	case ".ndjson", ".jsonl", ".json":
		return "ndjson"
	}
	return ""
}

const (
	zipMagic  = "PK\x03\x04"
	zipEmpty  = "PK\x05\x06" // the directory of an archive without members
	gzipMagic = "\x1f\x8b"
	zstdMagic = "\x28\xb5\x2f\xfd"
)

// stack closes readers that stand upon one another, the top one first.
type stack struct {
	io.Reader
	closers []func() error
}

// Close closes all readers and returns the first error.
func (s *stack) Close() error {
	var first error
	for i := len(s.closers) - 1; i >= 0; i-- {
		if err := s.closers[i](); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// expand undoes compression, told by the first bytes, and encoding: what comes
// out is UTF-8 unless the input is not what it is said to be.
func (r *Reader) expand(packed io.ReadCloser) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(packed, 256<<10)
	s := &stack{Reader: in, closers: []func() error{packed.Close}}
	magic, err := in.Peek(4)
	if err != nil && err != io.EOF {
		s.Close()
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte(gzipMagic)):
		z, err := gzip.NewReader(in)
		if err != nil {
			s.Close()
			return nil, cutOff(err)
		}
		s.Reader, s.closers = unpacked{z}, append(s.closers, z.Close)
	case bytes.HasPrefix(magic, []byte(zstdMagic)):
		z, err := zstd.NewReader(in)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.Reader, s.closers = unpacked{z}, append(s.closers, func() error { z.Close(); return nil })
	case string(magic) == zipMagic, string(magic) == zipEmpty:
		s.Close()
		return nil, errZipStream
	}
	if s.Reader, err = r.decode(s.Reader); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// unpacked is what comes out of a compressed text.
type unpacked struct{ io.Reader }

// Read says what it means that a text ends before its end.
func (u unpacked) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	return n, cutOff(err)
}

func cutOff(err error) error {
	if err == io.ErrUnexpectedEOF {
		return fmt.Errorf("the compressed data ends early; the file is cut off: %w", err)
	}
	return err
}

// decode takes a byte-order mark off and translates other encodings.
func (r *Reader) decode(in io.Reader) (io.Reader, error) {
	text := bufio.NewReaderSize(in, 4096)
	mark, err := text.Peek(3)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case string(mark) == "\xef\xbb\xbf":
		_, err := text.Discard(3)
		return text, err
	case bytes.HasPrefix(mark, []byte("\xff\xfe")), bytes.HasPrefix(mark, []byte("\xfe\xff")):
		return unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder().Reader(text), nil
	}
	if r.encoding != nil {
		return r.encoding.NewDecoder().Reader(text), nil
	}
	return text, nil
}

// findEncoding finds an encoding by name; nil is UTF-8.
func findEncoding(name string) (encoding.Encoding, error) {
	switch plainName(name) {
	case "", "utf8":
		return nil, nil
	case "utf16", "utf16le":
		return unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), nil
	case "utf16be":
		return unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM), nil
	case "latin1":
		return charmap.ISO8859_1, nil
	case "cp1252", "ansi":
		return charmap.Windows1252, nil
	}
	for _, e := range charmap.All {
		if s, ok := e.(fmt.Stringer); ok && plainName(s.String()) == plainName(name) {
			return e, nil
		}
	}
	return nil, &MappingError{Message: fmt.Sprintf("the encoding %q is not known; usual ones are utf-8, windows-1252, iso-8859-1 and utf-16", name)}
}

func plainName(name string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(name))
}

// countingReader counts the bytes that were read, for progress.
type countingReader struct {
	io.Reader
	read *atomic.Int64
}

// Read counts what it returns.
func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read.Add(int64(n))
	return n, err
}

type countingReaderAt struct {
	io.ReaderAt
	read *atomic.Int64
}

// ReadAt counts what it returns.
func (c countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.read.Add(int64(n))
	return n, err
}
