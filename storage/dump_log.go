package storage

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"wend/event"
)

// dumpManifest prints a manifest: its edits, each with its JSON.
func dumpManifest(d *dumper, name string, r io.ReaderAt, size int64) error {
	data, err := readWhole(r, size)
	if err != nil {
		return fmt.Errorf("dump %s: %w", name, err)
	}
	if len(data) < manifestHeader {
		d.field(data, "a header that ends early")
		return fmt.Errorf("dump %s: %w: it ends within its header", name, ErrCorrupt)
	}
	number := binary.LittleEndian.Uint64(data[24:])
	d.title("header of manifest %d", number)
	d.field(data[:8], "magic")
	d.field(data[8:24], "store id")
	d.field(data[24:32], "file number %d", number)
	d.field(data[32:36], "checksum of the header")
	var store [16]byte
	copy(store[:], data[8:])
	pos := manifestHeader
	for place := uint64(0); pos < len(data); place++ {
		payload, ok := nextEdit(data[pos:], store, number, place)
		if !ok {
			break
		}
		d.title("edit %d", place)
		d.field(data[pos:pos+4], "frame")
		d.field(data[pos+4:pos+8], "%d bytes", len(payload))
		d.field(data[pos+8:pos+12], "checksum")
		d.line("          " + string(payload))
		d.at += int64(len(payload))
		pos += editHeader + len(payload)
	}
	if pos < len(data) {
		d.title("unreadable")
		d.field(data[pos:], "an edit that was not finished, or damage")
	}
	if _, _, _, err := parseManifest(data, number); err != nil {
		return fmt.Errorf("dump %s: %w", name, err)
	}
	return nil
}

// dumpWAL prints a log file: its records, each with its events.
func dumpWAL(d *dumper, name string, r io.ReaderAt, size int64) error {
	data, err := readWhole(r, size)
	if err != nil {
		return fmt.Errorf("dump %s: %w", name, err)
	}
	if len(data) < 36 {
		d.field(data, "a header that ends early")
		return fmt.Errorf("dump %s: %w: it ends within its header", name, ErrCorrupt)
	}
	var store [16]byte
	copy(store[:], data[8:])
	number := binary.LittleEndian.Uint64(data[24:])
	log, err := parseWAL(data, store, number, nil)
	if err != nil {
		d.field(data[:36], "an unreadable header")
		return fmt.Errorf("dump %s: %w", name, err)
	}
	d.title("header of log %d", number)
	d.field(data[:8], "magic")
	d.field(data[8:24], "store id")
	d.field(data[24:32], "file number %d", number)
	d.field(data[32:36], "%d older files are needed", len(log.older))
	for _, o := range log.older {
		for _, g := range o.gaps {
			d.field(data[d.at:d.at+16], "file %d, not from byte %d", o.number, g.from)
			d.field(data[d.at:d.at+16], "to byte %d", g.to)
		}
		d.field(data[d.at:d.at+16], "file %d, its first %d bytes", o.number, o.bytes)
	}
	d.field(data[d.at:d.at+4], "checksum of the header")
	for _, rec := range log.records {
		if rec.offset > d.at {
			d.title("unreadable")
			d.field(data[d.at:rec.offset], "damage, or a write that was given up")
		}
		dumpRecord(d, data, rec)
	}
	if d.at < size {
		d.title("unreadable")
		d.field(data[d.at:], "a record that was not finished, or damage")
	}
	if len(log.holes) > 0 {
		return fmt.Errorf("dump %s: %w: bytes %d to %d", name, ErrCorrupt, log.holes[0].from, log.holes[0].to)
	}
	return nil
}

func dumpRecord(d *dumper, data []byte, rec walRecord) {
	head := data[rec.offset:]
	if rec.kind == recordMark {
		d.title("mark")
	} else {
		d.title("batch %d", rec.lsn)
	}
	d.field(head[:4], "frame")
	d.field(head[4:5], "kind")
	d.field(head[5:9], "%d bytes", len(rec.content))
	d.field(head[9:17], "LSN %d", rec.lsn)
	d.field(head[17:21], "checksum")
	if rec.kind == recordMark {
		synced := uint64(0)
		if len(rec.content) == 8 {
			synced = binary.LittleEndian.Uint64(rec.content)
		}
		d.field(rec.content, "synced up to offset %d", synced)
		return
	}
	in := newDecoder(rec.content)
	received, token, answer := event.Time(in.varint()), in.string(), in.string()
	text := "received " + received.String()
	if token != "" {
		text += fmt.Sprintf(", token %q, answered %s", token, answer)
	}
	d.field(rec.content[:in.pos], "%s", text)
	from := in.pos
	b := in.decodeBatch()
	if in.err != nil {
		d.field(rec.content[from:], "%v", in.err)
		return
	}
	d.field(rec.content[from:], "%d events", b.Len())
	for i := range b.Len() {
		e := b.At(i)
		var line strings.Builder
		fmt.Fprintf(&line, "          %s  %s  %s", e.Customer, e.Time, e.Name)
		if e.Channel != "" {
			fmt.Fprintf(&line, "@%s", e.Channel)
		}
		if e.ID != "" {
			fmt.Fprintf(&line, "  id %s", e.ID)
		}
		for _, p := range e.Props {
			fmt.Fprintf(&line, "  %s=%s", p.Name, p.Value)
		}
		d.line(line.String())
	}
}

func readWhole(r io.ReaderAt, size int64) ([]byte, error) {
	data := make([]byte, size)
	if _, err := r.ReadAt(data, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return data, nil
}
