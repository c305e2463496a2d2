package storage

import (
	"encoding/binary"
	"errors"
	"math"

	"wend/event"
)

// errShort is the decoder's only failure: what it reads is not what an encoder wrote.
var errShort = errors.New("encoded batch ends early or holds an impossible length")

// appendBatch encodes a batch, names and all, so that a log record can be
// read without any other.
func appendBatch(dst []byte, b *event.Batch) []byte {
	rows := b.Len()
	dst = binary.AppendUvarint(dst, uint64(rows))
	dst = appendTexts(dst, b.Names)
	dst = appendTexts(dst, b.Channels)
	for _, c := range b.Customer {
		dst = appendText(dst, c)
	}
	var last event.Time
	for _, t := range b.Time {
		dst = binary.AppendVarint(dst, int64(t)-int64(last))
		last = t
	}
	for i := range rows {
		dst = binary.AppendUvarint(dst, uint64(b.Name[i]))
		dst = binary.AppendUvarint(dst, uint64(b.Channel[i]))
	}
	if b.ID == nil {
		dst = append(dst, 0)
	} else {
		dst = append(dst, 1)
		for _, id := range b.ID {
			dst = appendText(dst, id)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(b.Columns)))
	for i := range b.Columns {
		dst = appendColumn(dst, &b.Columns[i], rows)
	}
	return dst
}

func appendColumn(dst []byte, c *event.Column, rows int) []byte {
	dst = appendText(dst, c.Name)
	dst = append(dst, byte(c.Type))
	bits := make([]byte, (rows+7)/8)
	for i := range rows {
		if c.Present == nil || c.Present[i] {
			bits[i>>3] |= 1 << (i & 7)
		}
	}
	dst = append(dst, bits...)
	for i := range rows {
		if bits[i>>3]>>(i&7)&1 == 0 {
			continue
		}
		switch c.Type {
		case event.StringType:
			dst = appendText(dst, c.Texts[i])
		case event.FloatType:
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.Floats[i]))
		default:
			dst = binary.AppendVarint(dst, c.Ints[i])
		}
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendTexts(dst []byte, list []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, s := range list {
		dst = appendText(dst, s)
	}
	return dst
}

// decoder reads what the append functions wrote. Texts point into one copy of
// the input. After a failure every read returns zero, and err stays set.
type decoder struct {
	data []byte
	text string // string(data), made once
	pos  int
	err  error
}

func newDecoder(data []byte) *decoder { return &decoder{data: data, text: string(data)} }

func (d *decoder) fail() { d.err, d.pos = errShort, len(d.data) }

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data[d.pos:])
	if n <= 0 {
		d.fail()
		return 0
	}
	d.pos += n
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.data[d.pos:])
	if n <= 0 {
		d.fail()
		return 0
	}
	d.pos += n
	return v
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.data)-d.pos) {
		d.fail()
		return nil
	}
	p := d.data[d.pos : d.pos+int(n)]
	d.pos += int(n)
	return p
}

func (d *decoder) byte() byte {
	if p := d.bytes(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) string() string {
	n := d.uvarint()
	from := d.pos
	d.bytes(n)
	if d.err != nil {
		return ""
	}
	return d.text[from:d.pos]
}

// count reads the length of a list whose entries take at least one bit each.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > 8*uint64(len(d.data)-d.pos)+8 {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) texts() []string {
	list := make([]string, d.count())
	for i := range list {
		list[i] = d.string()
	}
	return list
}

// decodeBatch reads a batch and checks that its codes are within its lists.
func (d *decoder) decodeBatch() *event.Batch {
	rows := d.count()
	b := &event.Batch{
		Names: d.texts(), Channels: d.texts(),
		Customer: make([]string, rows), Time: make([]event.Time, rows),
		Name: make([]uint32, rows), Channel: make([]uint32, rows),
	}
	for i := range rows {
		b.Customer[i] = d.string()
	}
	var last event.Time
	for i := range rows {
		last += event.Time(d.varint())
		b.Time[i] = last
	}
	for i := range rows {
		n, c := d.uvarint(), d.uvarint()
		if n >= uint64(len(b.Names)) || c >= uint64(len(b.Channels)) {
			d.fail()
			return b
		}
		b.Name[i], b.Channel[i] = uint32(n), uint32(c)
	}
	if d.byte() != 0 {
		b.ID = make([]string, rows)
		for i := range rows {
			b.ID[i] = d.string()
		}
	}
	columns := d.count()
	for range columns {
		if d.err != nil {
			return b
		}
		b.Columns = append(b.Columns, d.column(rows))
	}
	return b
}

func (d *decoder) column(rows int) event.Column {
	c := event.Column{Name: d.string(), Type: event.Type(d.byte())}
	bits := d.bytes(uint64(rows+7) / 8)
	if d.err != nil || c.Type == event.None || c.Type > event.TimeType {
		d.fail()
		return c
	}
	c.Present = make([]bool, rows)
	switch c.Type {
	case event.StringType:
		c.Texts = make([]string, rows)
	case event.FloatType:
		c.Floats = make([]float64, rows)
	default:
		c.Ints = make([]int64, rows)
	}
	for i := range rows {
		if bits[i>>3]>>(i&7)&1 == 0 {
			continue
		}
		c.Present[i] = true
		switch c.Type {
		case event.StringType:
			c.Texts[i] = d.string()
		case event.FloatType:
			if p := d.bytes(8); p != nil {
				c.Floats[i] = math.Float64frombits(binary.LittleEndian.Uint64(p))
			}
		default:
			c.Ints[i] = d.varint()
		}
	}
	return c
}
