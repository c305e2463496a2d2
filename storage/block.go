package storage

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"wend/event"
	"wend/tile"
)

// block is one block with its hot columns still encoded, in the tile's forms:
// a tile made of this block alone takes them as they are. The other columns
// are read, checked and decoded whenever they are asked for.
type block struct {
	Rows   int
	Starts []uint32
	Event  *tile.Codes
	Time   *tile.Times
	Ties   tile.Bitmap // customers with two events at one time
	Firsts tile.Bitmap // first rows of the customers; only of blocks that are kept
	Lasts  []uint32    // the base of each customer's last row; only of blocks that are kept
	Same   tile.Bitmap // rows at the time of the row before; only of blocks that are kept

	segment *segment
	entry   *blockEntry // nil: the block is empty
	rows    *rowBlock   // of a segment in memory: all columns; nil: they are in pages
}

// Block reads the columns of block p that every query needs.
func (s *segment) Block(p int) (*block, error) {
	b := &block{segment: s, entry: s.entry(p)}
	if b.entry == nil {
		b.Starts = []uint32{0}
		b.Event, b.Time = &tile.Codes{}, tile.NewTimes(nil, nil)
		return b, nil
	}
	if b.entry.memory != nil {
		shared, err := b.entry.memory.block(s, b.entry)
		if err == nil {
			*b = *shared
		}
		return b, err
	}
	b.Rows = b.entry.rows
	err := b.required("event", func(c *cursor) { b.Event = c.planes("event", b.Rows, len(s.Events)) })
	if err == nil {
		err = b.required("time", func(c *cursor) { b.Time = c.times(b.Rows) })
	}
	if err == nil {
		err = b.required("starts", func(c *cursor) { b.Starts = c.starts(b.entry.customers, b.Time) })
	}
	if err == nil {
		b.Ties = tile.NewBitmap(b.entry.customers)
		err = b.page("ties", func(c *cursor) { b.Ties = c.bitmap("ties", b.entry.customers, nil) })
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// required reads the page of a column that every block with rows has.
func (b *block) required(column string, read func(*cursor)) error {
	if _, _, ok := b.find(column); !ok && b.entry != nil {
		return b.segment.damaged(fmt.Errorf("segment %s: block %d: %w", b.segment.name, b.entry.block, corrupt("column %q is missing", column)))
	}
	return b.page(column, read)
}

// find returns the place of a column's page.
func (b *block) find(column string) (offset, length int64, ok bool) {
	if b.entry == nil {
		return 0, 0, false
	}
	offset = b.entry.offset
	for _, p := range b.entry.pages {
		if b.segment.columns[p.column] == column {
			return offset, int64(p.length), true
		}
		offset += int64(p.length)
	}
	return 0, 0, false
}

// pageReaders hold a page while it is decoded, and what is decoded of it on the
// way: columns keep nothing of either.
var pageReaders = sync.Pool{New: func() any { return new(pageReader) }}

type pageReader struct {
	cursor
	page []byte
}

// page reads the page of a column, if there is one.
func (b *block) page(column string, read func(*cursor)) error {
	offset, length, ok := b.find(column)
	if !ok {
		return nil
	}
	return b.pageAt(column, offset, length, read)
}

// pageAt reads the page of a column that lies there.
func (b *block) pageAt(column string, offset, length int64, read func(*cursor)) error {
	r := pageReaders.Get().(*pageReader)
	defer pageReaders.Put(r)
	page, err := b.segment.readInto(r.page, offset, length)
	r.page = page[:0]
	if err == nil {
		page, err = b.segment.seal.open(uint32(b.entry.block), column, page)
	}
	if err == nil {
		r.cursor = cursor{b: page, numbers: r.numbers, raw: r.raw}
		read(&r.cursor)
		err = r.end()
	}
	if err != nil {
		return b.segment.damaged(fmt.Errorf("segment %s: block %d: column %q: offset %d: %w", b.segment.name, b.entry.block, column, offset, err))
	}
	return nil
}

// Names reads the customers' identities, in order.
func (b *block) Names() (*tile.Strings, error) {
	if b.rows != nil {
		return b.rows.Names, nil
	}
	names := &tile.Strings{}
	err := b.required("names", func(c *cursor) { names = c.texts("names", b.entry.customers) })
	return names, err
}

// Channel reads the channel column; nil if no row has one.
func (b *block) Channel() (codes *tile.Codes, err error) {
	if b.rows != nil {
		if b.rows.Channel != nil {
			codes = tile.NewCodes(b.rows.Channel)
		}
		return codes, nil
	}
	err = b.page("channel", func(c *cursor) {
		codes = c.codes("channel", b.Rows, len(b.segment.Channels), b.Time.Anchors)
	})
	return codes, err
}

// Import reads the import codes; nil if all are 0.
func (b *block) Import() (codes []uint32, err error) {
	if b.rows != nil {
		return b.rows.Import, nil
	}
	err = b.page("import", func(c *cursor) {
		codes = c.narrowed("import", b.Rows, len(b.segment.Imports), b.Time.Anchors)
	})
	return codes, err
}

// TieRank reads the tie ranks; nil if all are 0.
func (b *block) TieRank() (ranks []uint32, err error) {
	if b.rows != nil {
		return b.rows.TieRank, nil
	}
	err = b.page("tie rank", func(c *cursor) { ranks = c.narrowed("tie rank", b.Rows, 1<<32, b.Time.Anchors) })
	return ranks, err
}

// IDs reads the event ids; nil if no row has one.
func (b *block) IDs() (ids *tile.Column, err error) {
	if b.rows != nil {
		return b.rows.IDs, nil
	}
	err = b.page("id", func(c *cursor) { ids = c.property(event.StringType, b.Rows, b.Event, b.Time.Anchors, nil) })
	return ids, err
}

// Column reads property prop of segmentMeta.Properties; nil if no row has a value.
func (b *block) Column(prop int) (column *tile.Column, err error) {
	if b.rows != nil {
		return b.rows.column(prop), nil
	}
	p := b.segment.Properties[prop]
	var values []string
	if _, _, ok := b.find("property:" + p.Name); !ok {
		return nil, nil
	}
	if p.Type == event.StringType {
		if values, err = b.segment.dictionary(prop); err != nil {
			return nil, err
		}
	}
	err = b.page("property:"+p.Name, func(c *cursor) {
		column = c.property(p.Type, b.Rows, b.Event, b.Time.Anchors, values)
	})
	return column, err
}

// Decode reads everything, for a merge.
func (b *block) Decode() (*rowBlock, error) {
	rows := &rowBlock{Starts: b.Starts, Event: make([]uint32, b.Rows), Time: make([]event.Time, b.Rows)}
	b.Event.Decode(0, rows.Event)
	b.Time.Decode(0, rows.Time)
	var err error
	if rows.Names, err = b.Names(); err != nil {
		return nil, err
	}
	channel, err := b.Channel()
	if err != nil {
		return nil, err
	}
	if channel != nil {
		rows.Channel = make([]uint32, b.Rows)
		channel.Decode(0, rows.Channel)
	}
	if rows.Import, err = b.Import(); err != nil {
		return nil, err
	}
	if rows.TieRank, err = b.TieRank(); err != nil {
		return nil, err
	}
	if rows.IDs, err = b.IDs(); err != nil {
		return nil, err
	}
	if b.rows != nil {
		rows.Columns, rows.Thin, rows.thinRows = b.rows.Columns, b.rows.Thin, b.rows.thinRows
		return rows, nil
	}
	return rows, b.decodeColumns(rows)
}

// decodeColumns reads the properties that the block has, one after the other.
func (b *block) decodeColumns(rows *rowBlock) error {
	if b.entry == nil {
		return nil
	}
	offsets := b.segment.propertyPages(b.entry)
	for _, page := range offsets {
		p := b.segment.Properties[page.property]
		var values []string
		var err error
		if p.Type == event.StringType {
			if values, err = b.segment.dictionary(page.property); err != nil {
				return err
			}
		}
		var c *tile.Column
		err = b.pageAt("property:"+p.Name, page.offset, page.length, func(cur *cursor) {
			c = cur.present(p.Type, b.Rows, b.Event, b.Time.Anchors, values)
		})
		if err != nil {
			return err
		}
		rows.putPresent(page.property, c)
	}
	return nil
}

// propertyPage is where the page of a property is.
type propertyPage struct {
	property       int
	offset, length int64
}

// propertyPages lists those of a block in the order of the properties.
func (s *segment) propertyPages(e *blockEntry) []propertyPage {
	numbers, _ := s.numbers.get(func() (map[string]int, error) { // it never fails
		numbers := map[string]int{}
		for i, p := range s.Properties {
			numbers["property:"+p.Name] = i
		}
		return numbers, nil
	})
	var list []propertyPage
	offset := e.offset
	for _, p := range e.pages {
		if i, ok := numbers[s.columns[p.column]]; ok {
			list = append(list, propertyPage{i, offset, int64(p.length)})
		}
		offset += int64(p.length)
	}
	slices.SortStableFunc(list, func(a, b propertyPage) int { return cmp.Compare(a.property, b.property) })
	return slices.CompactFunc(list, func(a, b propertyPage) bool { return a.property == b.property })
}
