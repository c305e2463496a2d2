package storage

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"

	"wend/storage/vfs"
)

// dumps says how the files of a store are dumped, by the magic they begin with.
var dumps = []struct {
	magic string
	dump  func(d *dumper, name string, r io.ReaderAt, size int64) error
}{
	{segmentMagic, dumpSegment},
	{manifestMagic1, dumpManifest},
	{manifestMagic2, dumpManifest},
	{walMagic, dumpWAL},
}

// Dump writes the bytes of any file of a store with their meaning: offset,
// hexadecimal, what it is. Damage ends the dump with an error that wraps
// ErrCorrupt, after what could be read.
func Dump(w io.Writer, fsys vfs.FS, file string) (err error) {
	f, err := fsys.Open(file)
	if err != nil {
		return fmt.Errorf("dump %s: %w", file, err)
	}
	defer f.Close() // opened for reading: closing loses nothing
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("dump %s: %w", file, err)
	}
	head := make([]byte, min(size, 8))
	if _, err := f.ReadAt(head, 0); err != nil && err != io.EOF {
		return fmt.Errorf("dump %s: %w", file, err)
	}
	for _, kind := range dumps {
		if strings.HasPrefix(string(head), kind.magic) {
			d := newDumper(w)
			err := kind.dump(d, file, f, size)
			if flushed := d.flush(); err == nil {
				err = flushed
			}
			return err
		}
	}
	err = fmt.Errorf("dump %s: begins with %q, which no segment, log or manifest does", file, head)
	if name := path.Base(file); strings.HasSuffix(name, ".seg") || strings.HasSuffix(name, walSuffix) || strings.HasPrefix(name, "MANIFEST") {
		err = fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	return err
}

// dumper prints annotated bytes. Writing fails once; flush tells.
type dumper struct {
	w  *bufio.Writer
	at int64 // offset in the file of the next byte
}

func newDumper(w io.Writer) *dumper { return &dumper{w: bufio.NewWriter(w)} }

func (d *dumper) flush() error { return d.w.Flush() }

// title begins a part of the file.
func (d *dumper) title(format string, args ...any) {
	fmt.Fprintf(d.w, "\n%s\n", fmt.Sprintf(format, args...))
}

const (
	dumpLine  = 8 // bytes a line
	dumpLines = 4 // of one field; a longer one is cut, the end of a dump is where its reader looks
)

// field prints bytes that mean one thing together.
func (d *dumper) field(b []byte, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	end := d.at + int64(len(b))
	for line := 0; line < dumpLines && len(b) > 0; line++ {
		n := min(dumpLine, len(b))
		d.line(fmt.Sprintf("%08x  %-*s  %s", d.at, dumpLine*3-1, fmt.Sprintf("% x", b[:n]), text))
		text = ""
		d.at += int64(n)
		b = b[n:]
	}
	if len(b) > 0 {
		d.line(fmt.Sprintf("          … %d bytes more", len(b)))
	}
	d.at = end
}

func (d *dumper) line(text string) {
	fmt.Fprintln(d.w, strings.TrimRight(text, " "))
}

// notes prints a page's content by its notes, and what no note covers as it is.
func (d *dumper) notes(content []byte, notes []note) {
	at := 0
	for _, n := range notes {
		d.field(content[at:n.end], "%s", n.text)
		at = n.end
	}
	d.field(content[at:], "not read")
}
