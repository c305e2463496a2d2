package storage

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"wend/event"
)

func dumpSegment(d *dumper, name string, r io.ReaderAt, size int64) error {
	head := make([]byte, min(size, headerSize))
	if _, err := r.ReadAt(head, 0); err != nil && err != io.EOF {
		return fmt.Errorf("dump %s: %w", name, err)
	}
	if len(head) < headerSize {
		return fmt.Errorf("dump %s: %w", name, corrupt("%d bytes are too few for a segment", size))
	}
	d.title("header")
	d.field(head[:8], "magic %q", head[:8])
	d.field(head[8:12], "format version %d", binary.LittleEndian.Uint32(head[8:]))
	d.field(head[12:16], "required features %#x", binary.LittleEndian.Uint32(head[12:]))
	d.field(head[16:32], "store id")
	d.field(head[32:40], "segment %d", binary.LittleEndian.Uint64(head[32:]))
	d.field(head[40:44], "salt")
	d.field(head[44:48], "CRC32C")

	s, err := openSegment(name, r, size, [16]byte(head[16:32]), binary.LittleEndian.Uint64(head[32:]))
	if err != nil {
		return err
	}
	for i := range s.blocks {
		if err := d.block(s, i); err != nil {
			return err
		}
	}
	for _, e := range s.sectionsInOrder() {
		d.title("section %q", e.name)
		if err := d.section(s, e); err != nil {
			return err
		}
	}
	trailer, err := s.read(size-trailerSize, trailerSize)
	if err != nil {
		return fmt.Errorf("segment %s: trailer: %w", name, err)
	}
	d.title("trailer")
	d.field(trailer[:8], "contents at %d", binary.LittleEndian.Uint64(trailer))
	d.field(trailer[8:12], "length %d", binary.LittleEndian.Uint32(trailer[8:]))
	d.field(trailer[12:20], "length of the file %d", binary.LittleEndian.Uint64(trailer[12:]))
	d.field(trailer[20:24], "CRC32C")
	d.field(trailer[24:], "magic %q", trailer[24:])
	return nil
}

func (d *dumper) block(s *segment, i int) error {
	e := &s.blocks[i]
	d.title("block %d: %d rows of %d customers, %v to %v", e.block, e.rows, e.customers, e.least, e.greatest)
	b, err := s.Block(e.block)
	if err != nil {
		return err
	}
	for _, p := range e.pages {
		column := s.columns[p.column]
		d.title("block %d, column %q", e.block, column)
		var notes []note
		var content []byte
		err := b.page(column, func(c *cursor) {
			c.notes = &notes
			content = slices.Clone(c.b) // the page's memory serves others once it is read
			b.readColumn(column, c)
		})
		if err != nil {
			return err
		}
		d.page(s, content, notes)
	}
	return nil
}

// page prints a page and the checksum behind it.
func (d *dumper) page(s *segment, content []byte, notes []note) {
	d.notes(content, notes)
	sum, err := s.read(d.at, sumSize)
	if err == nil {
		d.field(sum, "CRC32C")
	}
}

// readColumn reads the page of any column, for its notes.
func (b *block) readColumn(column string, c *cursor) {
	anchors := b.Time.Anchors
	switch column {
	case "event":
		c.planes("event", b.Rows, len(b.segment.Events))
	case "time":
		c.times(b.Rows)
	case "starts":
		c.starts(b.entry.customers, b.Time)
	case "ties":
		c.bitmap("ties", b.entry.customers, nil)
	case "channel":
		c.codes("channel", b.Rows, len(b.segment.Channels), anchors)
	case "names":
		c.texts("names", b.entry.customers)
	case "import":
		c.ints("import", b.Rows, anchors)
	case "tie rank":
		c.ints("tie rank", b.Rows, anchors)
	case "id":
		c.property(event.StringType, b.Rows, b.Event, anchors, nil)
	}
	name, ok := strings.CutPrefix(column, "property:")
	for i, p := range b.segment.Properties {
		if ok && p.Name == name {
			values, _ := b.segment.dictionary(i) // the property's codes will be found too large if it fails
			c.property(p.Type, b.Rows, b.Event, anchors, values)
		}
	}
}

func (d *dumper) section(s *segment, e sectionEntry) error {
	var notes []note
	content, err := s.reread(e.name, &notes)
	if err != nil {
		return err
	}
	d.page(s, content, notes)
	return nil
}
