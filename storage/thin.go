package storage

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"wend/event"
	"wend/tile"
)

// A column over all rows of a block costs eight bytes a row, whoever has a
// value. A store may have thousands of properties of which an event has ten: so
// of a property that few rows have, a block keeps these rows and their values,
// and takes memory for what there is and not for rows times properties.

// thinColumn is a property that few rows of a block have.
type thinColumn struct {
	property int
	rows     []uint32     // in rising order
	values   *tile.Column // of these rows, each of which has one
}

// thinShare is the share of rows from which on a column is over all of them.
const thinShare = 8

func thin(values, rows int) bool { return values*thinShare < rows }

// value is a row's value of a property.
type value struct {
	property int
	column   *tile.Column
	at       int // its place in column
}

// thinIndex finds the values in thin columns of a row.
type thinIndex struct {
	ends   []uint32 // by row
	values []thinPlace
}

type thinPlace struct{ column, at uint32 }

// put gives a block the column of a property, after those of lesser ones.
func (b *rowBlock) put(property int, c *tile.Column) {
	if c == nil {
		return
	}
	if n := c.Present.Count(); thin(n, len(b.Time)) {
		b.putThin(property, listed(c.Present, n), packed(c, n))
		return
	}
	b.putOver(property, c)
}

// putOver is put for a column that is to be over all rows.
func (b *rowBlock) putOver(property int, c *tile.Column) {
	for len(b.Columns) < property {
		b.Columns = append(b.Columns, nil)
	}
	b.Columns = append(b.Columns, c)
}

// putPresent is put for a column whose list has the rows that are present alone.
func (b *rowBlock) putPresent(property int, c *tile.Column) {
	n := len(c.Ints) + len(c.Floats) + len(c.Codes)
	if thin(n, len(b.Time)) {
		rows := listed(c.Present, n)
		c.Present = allPresent(n)
		b.putThin(property, rows, c)
		return
	}
	putInPlace(c, len(b.Time))
	b.putOver(property, c)
}

func allPresent(n int) tile.Bitmap {
	all := tile.NewBitmap(n)
	all.Fill(n)
	return all
}

// putThin is put for values of some rows.
func (b *rowBlock) putThin(property int, rows []uint32, values *tile.Column) {
	if b.thinRows == nil {
		b.thinRows = new(lazy[*thinIndex])
	}
	b.Thin = append(b.Thin, thinColumn{property, rows, values})
}

// listed lists the rows that have a value.
func listed(present tile.Bitmap, n int) []uint32 {
	rows := make([]uint32, 0, n)
	for w, word := range present {
		for ; word != 0; word &= word - 1 {
			rows = append(rows, uint32(w<<6+bits.TrailingZeros64(word)))
		}
	}
	return rows
}

// packed returns the values of the n rows that have one.
func packed(c *tile.Column, n int) *tile.Column {
	p := &tile.Column{Type: c.Type, Present: allPresent(n), Dict: c.Dict}
	switch c.Type {
	case event.StringType:
		p.Codes = presentValues(c.Codes, c.Present, n)
	case event.FloatType:
		p.Floats = presentValues(c.Floats, c.Present, n)
	default:
		p.Ints = presentValues(c.Ints, c.Present, n)
	}
	return p
}

// spread is the column over all of so many rows.
func (t *thinColumn) spread(rows int) *tile.Column {
	c := tile.NewColumn(t.values.Type, rows)
	c.Dict = t.values.Dict
	for k, row := range t.rows {
		c.Present.Set(int(row))
		switch c.Type {
		case event.StringType:
			c.Codes[row] = t.values.Codes[k]
		case event.FloatType:
			c.Floats[row] = t.values.Floats[k]
		default:
			c.Ints[row] = t.values.Ints[k]
		}
	}
	return c
}

// thin returns the thin column of a property, nil if the block has none.
func (b *rowBlock) thin(property int) *thinColumn {
	i, ok := slices.BinarySearchFunc(b.Thin, property, func(t thinColumn, p int) int { return cmp.Compare(t.property, p) })
	if !ok {
		return nil
	}
	return &b.Thin[i]
}

// column returns a property's column over all rows, nil if no row has a value.
// One that is thin is made for the call.
func (b *rowBlock) column(property int) *tile.Column {
	if property < len(b.Columns) && b.Columns[property] != nil {
		return b.Columns[property]
	}
	if t := b.thin(property); t != nil {
		return t.spread(len(b.Time))
	}
	return nil
}

// dict returns the texts that a property has, some rows or none of each.
func (b *rowBlock) dict(property int) []string {
	if property < len(b.Columns) && b.Columns[property] != nil {
		return b.Columns[property].Dict
	}
	if t := b.thin(property); t != nil {
		return t.values.Dict
	}
	return nil
}

// eachColumn calls do for the columns in the order of their properties. rows
// are those that the column is of; nil: all.
func (b *rowBlock) eachColumn(do func(property int, rows []uint32, c *tile.Column)) {
	thin := b.Thin
	before := func(property int) {
		for len(thin) > 0 && thin[0].property < property {
			do(thin[0].property, thin[0].rows, thin[0].values)
			thin = thin[1:]
		}
	}
	for i, c := range b.Columns {
		if c != nil {
			before(i)
			do(i, nil, c)
		}
	}
	before(math.MaxInt)
}

// appendRow appends the values of a row, in the order of their properties.
func (b *rowBlock) appendRow(list []value, row int) []value {
	from := len(list)
	for i, c := range b.Columns {
		if c != nil && c.Present.Get(row) {
			list = append(list, value{i, c, row})
		}
	}
	if len(b.Thin) == 0 {
		return list
	}
	index, _ := b.thinRows.get(b.indexThin) // it never fails
	lo := uint32(0)
	if row > 0 {
		lo = index.ends[row-1]
	}
	if lo == index.ends[row] {
		return list
	}
	for _, v := range index.values[lo:index.ends[row]] {
		t := &b.Thin[v.column]
		list = append(list, value{t.property, t.values, int(v.at)})
	}
	slices.SortFunc(list[from:], func(a, b value) int { return cmp.Compare(a.property, b.property) })
	return list
}

func (b *rowBlock) indexThin() (*thinIndex, error) {
	x := &thinIndex{ends: make([]uint32, len(b.Time)+1)}
	n := 0
	for _, t := range b.Thin {
		n += len(t.rows)
		for _, row := range t.rows {
			x.ends[row+1]++
		}
	}
	for row := range b.Time {
		x.ends[row+1] += x.ends[row]
	}
	x.values = make([]thinPlace, n)
	for i, t := range b.Thin {
		for k, row := range t.rows {
			x.values[x.ends[row]] = thinPlace{uint32(i), uint32(k)}
			x.ends[row]++
		}
	}
	return x, nil
}

// fillingColumn is a column that is filled row by row, in rising order.
type fillingColumn struct {
	rows []uint32     // as long as it is thin
	col  *tile.Column // of these rows, or of all
	over bool         // of all
}

// next is the place for the value of row k of so many.
func (f *fillingColumn) next(t event.Type, k, rows int) int {
	if f.col == nil {
		f.col = &tile.Column{Type: t}
	}
	if !f.over && !thin(len(f.rows)+1, rows) {
		f.col.Present = allPresent(len(f.rows))
		f.col = (&thinColumn{rows: f.rows, values: f.col}).spread(rows)
		f.rows, f.over = nil, true
	}
	if f.over {
		f.col.Present.Set(k)
		return k
	}
	f.rows = append(f.rows, uint32(k))
	switch t {
	case event.StringType:
		f.col.Codes = append(f.col.Codes, 0)
	case event.FloatType:
		f.col.Floats = append(f.col.Floats, 0)
	default:
		f.col.Ints = append(f.col.Ints, 0)
	}
	return len(f.rows) - 1
}

// end puts the column into a block.
func (f *fillingColumn) end(b *rowBlock, property int) {
	switch {
	case f.col == nil:
	case f.over:
		b.putOver(property, f.col)
	default:
		f.col.Present = allPresent(len(f.rows))
		b.putThin(property, f.rows, f.col)
	}
}

// gathering is where the rows of a part of a merge go.
type gathering struct {
	from, to []uint32 // by piece of the part, in rising order: its first row, and where that goes
	n        []uint32
}

// byPart lists the pieces of each part.
func (p *pieces) byPart(parts int) []gathering {
	list := make([]gathering, parts)
	at := uint32(0)
	for _, q := range p.list {
		g := &list[q.part]
		g.from, g.to, g.n = append(g.from, q.row), append(g.to, at), append(g.n, q.n)
		at += q.n
	}
	return list
}

// each calls do for those of the rows that are in a piece, with where they go.
func (g *gathering) each(rows []uint32, do func(k int, at uint32)) {
	if len(rows) < len(g.from) {
		i := 0
		for k, row := range rows {
			more, exact := slices.BinarySearch(g.from[i:], row)
			if i += more; !exact {
				i--
			}
			if i < 0 {
				i = 0
				continue
			}
			if row-g.from[i] < g.n[i] {
				do(k, g.to[i]+row-g.from[i])
			}
		}
		return
	}
	k := 0
	for i, from := range g.from {
		more, _ := slices.BinarySearch(rows[k:], from)
		for k += more; k < len(rows) && rows[k]-from < g.n[i]; k++ {
			do(k, g.to[i]+rows[k]-from)
		}
	}
}

// thinGatherer gathers thin columns, one property after the other.
type thinGatherer struct {
	rows   *pieces
	parts  []gathering
	values []gatheredValue
}

type gatheredValue struct{ at, part, k uint32 }

// gather gives out the property of the parts' columns, of which those are nil
// that have none.
func (g *thinGatherer) gather(out *rowBlock, property int, t event.Type, parts []*thinColumn) {
	if g.parts == nil {
		g.parts = g.rows.byPart(len(parts))
	}
	g.values = g.values[:0]
	rising := true
	for i, c := range parts {
		if c != nil {
			g.parts[i].each(c.rows, func(k int, at uint32) {
				rising = rising && (len(g.values) == 0 || g.values[len(g.values)-1].at < at)
				g.values = append(g.values, gatheredValue{at, uint32(i), uint32(k)})
			})
		}
	}
	n := len(g.values)
	if n == 0 {
		return
	}
	if !rising {
		slices.SortFunc(g.values, func(a, b gatheredValue) int { return cmp.Compare(a.at, b.at) })
	}
	few := thin(n, g.rows.rows)
	size := g.rows.rows
	if few {
		size = n
	}
	dst := newColumnBuilder(t, size)
	codes := make([][]uint32, len(parts)) // as in pieces.column
	for i, v := range g.values {
		if !few {
			i = int(v.at)
		}
		src, k := parts[v.part].values, int(v.k)
		switch {
		case t == event.StringType:
			if codes[v.part] == nil {
				codes[v.part] = make([]uint32, len(src.Dict))
			}
			dst.translate(i, src, k, k+1, codes[v.part])
			dst.set(i)
		case t != event.FloatType:
			dst.int(i, src.Ints[k])
		case src.Type == event.IntegerType:
			dst.float(i, float64(src.Ints[k]))
		default:
			dst.float(i, src.Floats[k])
		}
	}
	if !few {
		out.put(property, dst.column())
		return
	}
	rows := make([]uint32, n)
	for i, v := range g.values {
		rows[i] = v.at
	}
	out.putThin(property, rows, dst.column())
}

// gatherColumns gives out the properties that blocks have.
func gatherColumns(out *rowBlock, rows *pieces, blocks []*rowBlock, properties []event.Property) {
	some := tile.NewBitmap(len(properties))
	for _, b := range blocks {
		b.eachColumn(func(property int, _ []uint32, _ *tile.Column) { some.Set(property) })
	}
	g := thinGatherer{rows: rows}
	thin := make([]*thinColumn, len(blocks))
	over := make([]*tile.Column, len(blocks))
	for p := some.Next(0, len(properties)); p < len(properties); p = some.Next(p+1, len(properties)) {
		all := true
		for i, b := range blocks {
			over[i], thin[i] = nil, nil
			if p < len(b.Columns) {
				over[i] = b.Columns[p]
			}
			if over[i] == nil {
				thin[i] = b.thin(p)
			}
			all = all && over[i] == nil
		}
		if all {
			g.gather(out, p, properties[p].Type, thin)
			continue
		}
		for i, t := range thin {
			if t != nil {
				over[i] = t.spread(len(blocks[i].Time))
			}
		}
		out.put(p, rows.column(properties[p].Type, over))
	}
}
