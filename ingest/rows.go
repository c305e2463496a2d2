package ingest

import (
	"fmt"
	"hash/maphash"
	"math/bits"

	"wend/event"
)

const (
	// batchRowsMax is the largest batch that is handed out.
	batchRowsMax = 65_536

	// batchCellsMax bounds the memory of a batch with many columns.
	batchCellsMax = 8 << 20

	// fieldBytesMax bounds customers, events, channels and ids. They are
	// looked up and sorted all the time; a longer one is a mapping mistake.
	fieldBytesMax = 4096
)

// rows collects the events of one piece in batches. A row is written in place
// and counts only when it is complete, so that a rejected row costs nothing
// but its rejection.
type rows struct {
	read   *reading
	layout *layout
	size   int // rows of a batch
	n      int // rows of the batch being filled
	batch  *event.Batch
	cells  []cells // by layout.columns
	used   []int   // columns written to in the row at hand
	row    int64   // number of the row at hand, over all batches
	names  dictionary
	chans  dictionary
	done   []*event.Batch

	ids       bool
	constTime event.Time
}

// cells are the values of one column in a batch that is being filled.
type cells struct {
	event.Column
	count int   // of present values
	row   int64 // the last row that wrote here
}

// start begins a piece that has at most max rows.
func (r *rows) start(l *layout, max int) {
	r.layout = l
	r.size = min(max, batchRowsMax)
	if n := len(l.columns); n > 0 {
		r.size = max1(min(r.size, batchCellsMax/n))
	}
	r.n, r.batch, r.done, r.row = 0, nil, nil, 0
	r.ids = l.fields[fieldID].given()
	r.constTime = l.fields[fieldTime].time
}

func max1(n int) int { return max(n, 1) }

// begin starts a row. It must be followed by commit or abandon.
func (r *rows) begin() {
	r.row++
	r.used = r.used[:0]
	if r.batch != nil {
		return
	}
	b := &event.Batch{
		Customer: make([]string, r.size),
		Time:     make([]event.Time, r.size),
		Name:     make([]uint32, r.size),
		Channel:  make([]uint32, r.size),
	}
	if r.ids {
		b.ID = make([]string, r.size)
	}
	r.batch = b
	r.n = 0
	r.names.reset()
	r.chans.reset()
	r.chans.code("")
	if cap(r.cells) < len(r.layout.columns) {
		r.cells = make([]cells, len(r.layout.columns))
	}
	r.cells = r.cells[:len(r.layout.columns)]
	for i := range r.cells {
		c := &r.layout.columns[i]
		r.cells[i] = cells{Column: event.Column{Name: c.name, Type: c.typ}}
	}
}

// outcome is what became of a value.
type outcome uint8

const (
	stored outcome = iota
	misfits
	twice   // two keys are one property
	unknown // the column's type is not known yet
)

// set gives the row at hand a value of column i.
func (r *rows) set(i int, k kind, raw string) outcome {
	c := &r.cells[i]
	if c.row == r.row {
		return twice
	}
	if c.Type == event.None {
		return unknown
	}
	if c.Present == nil {
		r.allocate(c)
	}
	told := r.layout.columns[i].told
	switch c.Type {
	case event.StringType:
		c.Texts[r.n] = raw
	case event.IntegerType:
		n, ok := r.integer(told, k, raw)
		if !ok {
			f, isFloat := r.float(false, k, raw)
			if told || !isFloat || !widens(raw) {
				return misfits
			}
			widen(&c.Column, r.n)
			c.Floats[r.n] = f
			break
		}
		c.Ints[r.n] = n
	case event.FloatType:
		f, ok := r.float(told, k, raw)
		if !ok {
			return misfits
		}
		c.Floats[r.n] = f
	case event.BooleanType:
		b, ok := boolean(raw)
		if !ok || k == jsonText || k == jsonNumber {
			return misfits
		}
		if b {
			c.Ints[r.n] = 1
		} else {
			c.Ints[r.n] = 0
		}
	case event.TimeType:
		t, ok := r.time(told, k, raw)
		if !ok {
			return misfits
		}
		c.Ints[r.n] = int64(t)
	}
	c.Present[r.n] = true
	c.row = r.row
	c.count++
	r.used = append(r.used, i)
	return stored
}

func (r *rows) allocate(c *cells) {
	c.Present = make([]bool, r.size)
	switch c.Type {
	case event.StringType:
		c.Texts = make([]string, r.size)
	case event.FloatType:
		c.Floats = make([]float64, r.size)
	default:
		c.Ints = make([]int64, r.size)
	}
}

func (r *rows) integer(told bool, k kind, raw string) (int64, bool) {
	switch {
	case k == jsonNumber || told && (k == plain || k == jsonText):
		return anyInteger(raw)
	case k == plain:
		return integer(raw)
	}
	return 0, false
}

func (r *rows) float(told bool, k kind, raw string) (float64, bool) {
	switch {
	case k == jsonNumber:
		return r.read.anyJSONNumber(raw)
	case told && (k == plain || k == jsonText):
		return r.read.anyNumber(raw)
	case k == plain:
		return r.read.number(raw)
	}
	return 0, false
}

// time reads a time property. Where the user has said that it is one, numbers
// count from 1970.
func (r *rows) time(told bool, k kind, raw string) (event.Time, bool) {
	if k == jsonBool || k == jsonArray || k == jsonNumber && !told {
		return 0, false
	}
	if t, ok := r.read.clock.property(raw); ok || !told {
		return t, ok
	}
	t, fault := r.read.clock.usual(raw)
	return t, fault == timeOK
}

// widens reports whether a number is measured rather than counted: an integer
// too long for an int64 does not turn its column into floats.
func widens(raw string) bool {
	for i := 0; i < len(raw); i++ {
		if c := raw[i]; c != '-' && c-'0' > 9 {
			return true
		}
	}
	return raw == "-0"
}

// widen makes an integer column's first n values floats.
func widen(c *event.Column, n int) {
	c.Floats = make([]float64, len(c.Ints))
	for i, v := range c.Ints[:n] {
		c.Floats[i] = float64(v)
	}
	c.Type, c.Ints = event.FloatType, nil
}

// fields are the texts of an event's own fields in one row.
type fields [fieldCount]string

// commit completes the row at hand. If a field is not what it must be, the row
// is dropped and the field and the reason are returned.
func (r *rows) commit(f *fields) (field, string) {
	customer := f[fieldCustomer]
	if customer == "" {
		r.abandon()
		return fieldCustomer, "there is no customer"
	}
	name := f[fieldEvent]
	if name == "" {
		r.abandon()
		return fieldEvent, "there is no event"
	}
	at := r.constTime
	if text := f[fieldTime]; text != "" {
		var fault timeFault
		if at, fault = r.read.clock.mapped(text); fault != timeOK {
			r.abandon()
			if fault == outOfRange {
				return fieldTime, "the time " + quoteShort(text) + " is outside the years 1 to 9999"
			}
			return fieldTime, "expected a time, got " + quoteShort(text)
		}
	} else if !r.layout.fields[fieldTime].constant {
		r.abandon()
		return fieldTime, "there is no time"
	}
	for i := range f {
		if len(f[i]) > fieldBytesMax {
			r.abandon()
			return field(i), fmt.Sprintf("%s is longer than %d bytes", field(i), fieldBytesMax)
		}
	}
	b, n := r.batch, r.n
	b.Customer[n] = customer
	b.Time[n] = at
	b.Name[n] = r.names.code(name)
	b.Channel[n] = r.chans.code(f[fieldChannel])
	if b.ID != nil {
		b.ID[n] = f[fieldID]
	}
	if r.n++; r.n == r.size {
		r.flush()
	}
	return -1, ""
}

// abandon drops the row at hand.
func (r *rows) abandon() {
	for _, i := range r.used {
		c := &r.cells[i]
		c.Present[r.n] = false
		c.count--
		switch c.Type {
		case event.StringType:
			c.Texts[r.n] = ""
		case event.FloatType:
			c.Floats[r.n] = 0
		default:
			c.Ints[r.n] = 0
		}
	}
}

// flush completes the batch being filled.
func (r *rows) flush() {
	b, n := r.batch, r.n
	if b == nil || n == 0 {
		return
	}
	b.Customer, b.Time, b.Name, b.Channel = b.Customer[:n], b.Time[:n], b.Name[:n], b.Channel[:n]
	if b.ID != nil {
		b.ID = b.ID[:n]
	}
	b.Names, b.Channels = r.names.list, r.chans.list
	for i := range r.cells {
		c := r.cells[i]
		if c.count == 0 {
			continue
		}
		if c.Present = c.Present[:n]; c.count == n {
			c.Present = nil
		}
		switch {
		case c.Texts != nil:
			c.Texts = c.Texts[:n]
		case c.Floats != nil:
			c.Floats = c.Floats[:n]
		default:
			c.Ints = c.Ints[:n]
		}
		b.Columns = append(b.Columns, c.Column)
	}
	r.done = append(r.done, b)
	r.batch = nil
}

// dictionary gives each different text of a batch a code, in order of
// appearance.
type dictionary struct {
	seed  maphash.Seed
	salt  uint64 // drawn from seed
	list  []string
	slots []uint32 // code + 1, 0 for empty; at most half of them are taken
}

func (d *dictionary) reset() {
	if d.slots == nil {
		d.seed = maphash.MakeSeed()
		d.salt = maphash.String(d.seed, "")
		d.slots = make([]uint32, 256)
	}
	clear(d.slots)
	d.list = nil
}

func (d *dictionary) code(s string) uint32 {
	mask := uint64(len(d.slots) - 1)
	i := d.hash(s) & mask
	for ; d.slots[i] != 0; i = (i + 1) & mask {
		if c := d.slots[i] - 1; d.list[c] == s {
			return c
		}
	}
	d.list = append(d.list, s)
	d.slots[i] = uint32(len(d.list))
	if 2*len(d.list) > len(d.slots) {
		d.grow()
	}
	return uint32(len(d.list) - 1)
}

// hash hashes short texts, which names mostly are, from two loads of their bytes.
func (d *dictionary) hash(s string) uint64 {
	var first, last uint64
	switch n := len(s); {
	case n > 16:
		return maphash.String(d.seed, s)
	case n >= 8:
		first, last = eightBytes(s), eightBytes(s[n-8:])
	case n >= 4:
		first, last = fourBytes(s), fourBytes(s[n-4:])
	case n > 0:
		first, last = uint64(s[0]), uint64(s[n/2])|uint64(s[n-1])<<8
	}
	high, low := bits.Mul64(first^d.salt, last^uint64(len(s))^0x9e3779b97f4a7c15)
	return high ^ low
}

// eightBytes reads the first eight bytes, which the compiler makes one load of.
func eightBytes(s string) uint64 {
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func fourBytes(s string) uint64 {
	return uint64(uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24)
}

func (d *dictionary) grow() {
	d.slots = make([]uint32, 2*len(d.slots))
	mask := uint64(len(d.slots) - 1)
	for c, s := range d.list {
		i := d.hash(s) & mask
		for d.slots[i] != 0 {
			i = (i + 1) & mask
		}
		d.slots[i] = uint32(c + 1)
	}
}
