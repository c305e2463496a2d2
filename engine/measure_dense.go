package engine

import (
	"math/bits"
	"slices"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// denseMeasure counts events and customers by columns of few values, a tile at
// a time: the values of all columns make one small number for each row, which
// is the place of its counters. No group is looked up for a row, only for each
// number that occurred in the tile.
type denseMeasure struct {
	columns []denseColumn
	keys    []uint16       // by row; not of two columns
	bytes   [2][]byte      // codes of a column, by row
	adds    [2][256]uint16 // to the key, by code
	two     bool           // keys of rows are added up when they are counted
	cells   []denseCell
	ids     []int // groups, by key
}

// denseColumn says how the codes of a column become keys.
type denseColumn struct {
	coder  *coder
	column *tile.Column // of a property; nil: no row has a value
	planes *tile.Codes
	place  [256]uint16 // of a code: what it adds to the key, divided by stride
	codes  [256]uint32 // of the coder's dictionary, by place, less one; 0: not looked up yet
	size   int         // places
	stride int
}

// denseCell counts one key. Customers are counted by whether the one before
// was another: all rows of a customer come together.
type denseCell struct {
	events, customers, last uint32
	_                       uint32
}

// denseKeys bounds the counters, which have to stay in a near cache.
const denseKeys = 1 << 13

// dense reports whether nothing about the statement needs more than counters.
func (o *measureOperator) dense() bool {
	if o.r.opt.General || o.sessions || o.grouping.calendar != nil {
		return false
	}
	for _, a := range o.aggregates {
		if a.kind != countEvents && a.kind != countCustomers {
			return false
		}
	}
	return !slices.ContainsFunc(o.grouping.by, func(c *coding) bool { return c.kind == anyExpression })
}

// fits prepares the columns of a tile; not all need have few values.
func (d *denseMeasure) fits(w *measureWorker, v *view) bool {
	keys := 1
	if d.columns == nil {
		d.columns = make([]denseColumn, len(w.groups.coders))
	}
	for i, c := range w.groups.coders {
		column := &d.columns[i]
		column.coder, column.stride = c, keys
		if !column.prepare(v, w.grouping.kept[i]) {
			return false
		}
		if keys *= column.size; keys > denseKeys {
			return false
		}
	}
	d.ids = grown(d.ids, keys)[:keys]
	d.cells = grown(d.cells, denseKeys)[:denseKeys]
	return true
}

// prepare finds the column of a coder in a tile, if its values are few. With a
// property the code behind the last value is that of rows without one.
func (d *denseColumn) prepare(v *view, kept map[uint32]bool) bool {
	schema := v.run.schema
	switch d.coder.kind {
	case eventField:
		d.planes, d.size = v.Event, len(schema.Events)
	case channelField:
		d.planes, d.size = v.Channel, len(schema.Channels)
	default:
		d.column, d.planes, d.size = v.column(d.coder.property), nil, 1
		if d.column != nil {
			d.planes, d.size = d.column.Planes, len(d.column.Dict)+1
		}
		if d.column != nil && d.planes == nil {
			return false
		}
		clear(d.codes[:])
	}
	if d.size > len(d.place)-1 || d.planes != nil && d.planes.Bits > 8 {
		return false
	}
	for code := range d.size {
		d.place[code] = uint16(code)
	}
	if kept == nil {
		return true
	}
	// What top leaves out has one place, behind the others.
	for code := range d.size {
		global, ok := d.coder.dict.find(d.value(v, code))
		if !ok || !kept[global] {
			d.place[code] = uint16(d.size)
		}
	}
	d.codes[d.size] = otherCode // and none: it is not one to look up
	d.size++
	return true
}

// value returns the value of a code.
func (d *denseColumn) value(v *view, code int) event.Value {
	switch {
	case d.coder.kind == eventField:
		return event.String(v.run.schema.Events[code].Text)
	case d.coder.kind == channelField && code > 0:
		return event.String(v.run.schema.Channels[code].Text)
	case d.coder.kind == textProperty && d.column != nil && code < len(d.column.Dict):
		return event.String(d.column.Dict[code])
	}
	return event.Null
}

// code returns the dictionary's code of a place.
func (d *denseColumn) code(v *view, place int) (uint32, error) {
	switch known := d.codes[place]; known {
	case 0:
		return d.coder.learn(&d.codes[place], d.value(v, place))
	case otherCode:
		return otherCode, nil
	default:
		return known - 1, nil
	}
}

// visit counts a tile.
func (d *denseMeasure) visit(w *measureWorker, v *view) error {
	d.load(v)
	if err := v.tick(v.Rows); err != nil {
		return err
	}
	anchors := v.anchors(false)
	d.count(v.Rows, anchors, v.Firsts)
	for key := range d.ids {
		if d.cells[key].events == 0 {
			continue
		}
		var err error
		if d.ids[key], err = d.group(w, v, key); err != nil {
			return err
		}
	}
	if w.counting {
		return nil
	}
	for k, a := range w.aggregates {
		if a.filter == nil {
			d.add(w, k)
		}
	}
	for k, a := range w.aggregates {
		if a.filter == nil {
			continue
		}
		rows := w.filters[k]
		if anchors != nil {
			rows.And(anchors)
		}
		d.count(v.Rows, rows, v.Firsts)
		d.add(w, k)
	}
	return nil
}

// load makes the keys of all rows. Those of two columns, of which there are
// most, are not worth to be written down.
func (d *denseMeasure) load(v *view) {
	if d.two = len(d.columns) == 2; d.two {
		d.decode(v, 0, 0)
		d.decode(v, 1, 1)
		return
	}
	d.keys = grown(d.keys, v.Rows)[:v.Rows]
	keys := d.keys
	clear(keys)
	for i := range d.columns {
		d.decode(v, i, 0)
		adds := &d.adds[0]
		for row, code := range d.bytes[0] {
			keys[row] += adds[code]
		}
	}
}

// decode decodes column i into bytes[to], and says what its codes add to keys.
func (d *denseMeasure) decode(v *view, i, to int) {
	column := &d.columns[i]
	d.bytes[to] = grown(d.bytes[to], v.Rows)[:v.Rows]
	codes := d.bytes[to]
	if column.planes == nil {
		clear(codes)
	} else {
		column.planes.Decode8(0, codes)
	}
	if column.coder.kind == textProperty && column.column != nil {
		column.setNulls(codes)
	}
	for code := range d.adds[to] {
		d.adds[to][code] = column.place[code] * uint16(column.stride)
	}
}

// key is the key of a row.
func (d *denseMeasure) key(row int) uint16 {
	if d.two {
		return d.adds[0][d.bytes[0][row]] + d.adds[1][d.bytes[1][row]]
	}
	return d.keys[row]
}

// setNulls gives the rows without a value the code behind the last.
func (d *denseColumn) setNulls(codes []byte) {
	null := byte(len(d.column.Dict))
	for at, present := range d.column.Present {
		for absent := ^present; absent != 0; absent &= absent - 1 {
			if row := at<<6 + bits.TrailingZeros64(absent); row < len(codes) {
				codes[row] = null
			}
		}
	}
}

// count counts the rows of a bitmap, nil all, by key.
func (d *denseMeasure) count(rows int, of, starts tile.Bitmap) {
	cells := (*[denseKeys]denseCell)(d.cells)
	clear(cells[:len(d.ids)])
	adds, others := &d.adds[0], &d.adds[1]
	customer := uint32(0) // the number of starts so far
	for at, flags := range starts {
		if of == nil || of[at] == ^uint64(0) {
			end := min(at<<6+64, rows)
			if d.two {
				codes := d.bytes[1][at<<6 : end]
				for i, code := range d.bytes[0][at<<6 : end][:len(codes)] {
					customer += uint32(flags & 1)
					flags >>= 1
					cells[(adds[code]+others[codes[i]])%denseKeys].add(customer)
				}
				continue
			}
			for _, key := range d.keys[at<<6 : end] {
				customer += uint32(flags & 1)
				flags >>= 1
				cells[key%denseKeys].add(customer)
			}
			continue
		}
		for left := of[at]; left != 0; left &= left - 1 {
			bit := bits.TrailingZeros64(left)
			before := bits.OnesCount64(flags << (63 - bit&63))
			if seeded.On("dense_start_late") {
				before = bits.OnesCount64(flags << 1 << (63 - bit&63))
			}
			cells[d.key(at<<6+bit)%denseKeys].add(customer + uint32(before))
		}
		customer += uint32(bits.OnesCount64(flags))
	}
}

func (c *denseCell) add(customer uint32) {
	c.events++
	other := uint32(0)
	if c.last != customer {
		other = 1
	}
	c.customers += other
	c.last = customer
}

// add adds what was counted to an aggregate of all groups.
func (d *denseMeasure) add(w *measureWorker, k int) {
	for key := range d.ids {
		cell := &d.cells[key]
		switch {
		case cell.events == 0:
		case w.aggregates[k].kind == countEvents:
			w.accumulators[d.ids[key]][k].n += int64(cell.events)
		default:
			w.accumulators[d.ids[key]][k].n += int64(cell.customers)
		}
	}
}

// group finds the group of a key, and tells it of its anchors.
func (d *denseMeasure) group(w *measureWorker, v *view, key int) (id int, err error) {
	if w.grouping.whole() {
		w.groups.all()
	} else {
		var codes [byMax]uint32
		rest := key
		for i := range d.columns {
			column := &d.columns[i]
			if codes[i], err = column.code(v, rest%column.size); err != nil {
				return 0, err
			}
			rest /= column.size
		}
		if id, err = w.groups.find(0, 0, codes[:len(d.columns)]); err != nil {
			return 0, err
		}
	}
	w.groups.groups[id].anchors += int64(d.cells[key].events) - 1 // one is counted already
	return id, w.reach(id)
}
