package engine

import (
	"math/bits"

	"wend/event"
	"wend/internal/seeded"
	"wend/query"
	"wend/tile"
)

// filter sets dst to the rows for which the expression is true.
func (n *expr) filter(v *view, dst tile.Bitmap) error {
	return n.filterAmong(v, v.rows, dst)
}

// filterAmong sets dst to those of the candidates (nil: all rows) for which
// the expression is true. Others are not evaluated, so that they cannot fail.
func (n *expr) filterAmong(v *view, among, dst tile.Bitmap) error {
	if n.codes != nil {
		v.matchCodes(n.codes.channel, n.codes.yes, dst)
		if among != nil {
			dst.And(among)
		}
		return nil
	}
	mark := len(v.used)
	defer v.giveBack(mark)
	if among == nil {
		among = v.bitmap(v.Rows)
		among.Fill(v.Rows)
	}
	unknown := v.bitmap(v.Rows)
	clear(dst)
	return n.truth(v, among, dst, unknown)
}

// giveBack makes scratch taken since mark free again.
func (v *view) giveBack(mark int) {
	v.free = append(v.free, v.used[mark:]...)
	v.used = v.used[:mark]
}

// truth decides the expression for the candidates: yes gets those for which it
// is true, unknown those for which it is null. Both come empty. Every way
// leaves rows that are not candidates alone.
func (n *expr) truth(v *view, among, yes, unknown tile.Bitmap) error {
	switch {
	case n.codes != nil:
		n.codes.truth(v, among, yes, unknown)
		return nil
	case n.text != nil:
		return n.textTruth(v, among, yes, unknown)
	case n.op == opAnd:
		return n.andTruth(v, among, yes, unknown)
	case n.op == opOr:
		return n.orTruth(v, among, yes, unknown)
	case n.op == opNot:
		no := v.bitmap(v.Rows)
		if err := n.args[0].truth(v, among, no, unknown); err != nil {
			return err
		}
		copy(yes, among)
		yes.AndNot(no)
		if seeded.On("not_unknown_true") {
			return nil
		}
		yes.AndNot(unknown)
		return nil
	case n.reads.customer && !n.reads.event && !n.reads.channel && !n.reads.rest && n.reads.texts == nil && !n.reads.fails:
		return n.customerTruth(v, among, yes, unknown)
	}
	if done := n.numberTruth(v, among, yes, unknown); done {
		return nil
	}
	return n.rowTruth(v, among, yes, unknown)
}

// andTruth looks for each further condition only at rows where none was false.
func (n *expr) andTruth(v *view, among, yes, unknown tile.Bitmap) error {
	left, one, open := v.bitmap(v.Rows), v.bitmap(v.Rows), v.bitmap(v.Rows)
	copy(left, among)
	copy(yes, among)
	for _, a := range n.args {
		clear(one)
		clear(open)
		if err := a.truth(v, left, one, open); err != nil {
			return err
		}
		yes.And(one)
		copy(left, one)
		left.Or(open)
	}
	copy(unknown, left)
	unknown.AndNot(yes)
	yes.And(left)
	return nil
}

// orTruth looks for each further condition only at rows where none was true.
func (n *expr) orTruth(v *view, among, yes, unknown tile.Bitmap) error {
	left, one, open := v.bitmap(v.Rows), v.bitmap(v.Rows), v.bitmap(v.Rows)
	copy(left, among)
	for _, a := range n.args {
		clear(one)
		clear(open)
		if err := a.truth(v, left, one, open); err != nil {
			return err
		}
		yes.Or(one)
		unknown.Or(open)
		left.AndNot(one)
	}
	unknown.AndNot(yes)
	return nil
}

func (t *codeTruth) truth(v *view, among, yes, unknown tile.Bitmap) {
	v.matchCodes(t.channel, t.yes, yes)
	yes.And(among)
	if len(t.unknown) > 0 {
		v.matchCodes(t.channel, t.unknown, unknown)
		unknown.And(among)
	}
}

// matchCodes sets dst to the rows whose event, or whose channel, has one of the codes.
func (v *view) matchCodes(channel bool, codes []uint32, dst tile.Bitmap) {
	column := v.Event
	if channel {
		column = v.Channel
	}
	if column != nil {
		column.Match(codes, v.Rows, dst)
		return
	}
	clear(dst) // no channel column: no event of the tile has a channel
	for _, code := range codes {
		if code == 0 {
			dst.Fill(v.Rows)
		}
	}
}

// textTruth decides once for every text that a candidate has.
func (n *expr) textTruth(v *view, among, yes, unknown tile.Bitmap) error {
	column := v.column(n.reads.texts[0])
	if column != nil && column.Planes != nil && len(column.Dict) <= fewTexts {
		return n.fewTextsTruth(v, column, among, yes, unknown)
	}
	if column != nil && column.Planes != nil && column.Planes.Bits <= 8 {
		return n.packedTextsTruth(v, column, among, yes, unknown)
	}
	const ofNull = 0
	size := 1
	if column != nil {
		size += len(column.Dict)
	}
	verdicts := make([]verdict, size) // by code + 1
	for row := among.Next(0, v.Rows); row < v.Rows; row = among.Next(row+1, v.Rows) {
		at := ofNull
		if column != nil && column.Present.Get(row) {
			at = int(column.Code(row)) + 1
		}
		if verdicts[at] == undecided {
			p := place{}
			if at != ofNull {
				p.given = event.String(column.Dict[at-1])
			}
			x, err := n.text.value(v, &p)
			if err != nil {
				return err
			}
			verdicts[at] = verdictOf(x)
		}
		verdicts[at].set(row, yes, unknown)
		if err := v.tick(1); err != nil {
			return err
		}
	}
	return nil
}

// packedTextsTruth is textTruth for codes in bit planes, 64 rows at a time.
func (n *expr) packedTextsTruth(v *view, column *tile.Column, among, yes, unknown tile.Bitmap) error {
	var verdicts [257]verdict // by code, the last of null
	const ofNull = 256
	decide := func(at int) (err error) {
		p := place{}
		if at != ofNull {
			p.given = event.String(column.Dict[at])
		}
		x, err := n.text.value(v, &p)
		verdicts[at] = verdictOf(x)
		return err
	}
	var codes [64]byte
	for g, rows := range among {
		if rows == 0 {
			continue
		}
		if err := v.tick(bits.OnesCount64(rows)); err != nil {
			return err
		}
		present := rows & column.Present[g]
		if nulls := rows &^ present; nulls != 0 {
			if verdicts[ofNull] == undecided {
				if err := decide(ofNull); err != nil {
					return err
				}
			}
			switch verdicts[ofNull] {
			case isTrue:
				yes[g] |= nulls
			case isUnknown:
				unknown[g] |= nulls
			}
		}
		if present == 0 {
			continue
		}
		column.Planes.Group8(g, &codes)
		var are, may uint64
		for rest := present; rest != 0; rest &= rest - 1 {
			i := bits.TrailingZeros64(rest)
			at := codes[i&63]
			if verdicts[at] == undecided {
				if err := decide(int(at)); err != nil {
					return err
				}
			}
			// Without a branch, which fifty texts in no order would mislead.
			d := uint64(verdicts[at])
			are |= (d >> 1 &^ d & 1) << (i & 63) // isTrue is 2
			may |= (d >> 1 & d) << (i & 63)      // isUnknown is 3
		}
		yes[g] |= are
		unknown[g] |= may
	}
	return nil
}

// fewTexts is up to how many texts it pays to look for the rows of each.
const fewTexts = 32

// fewTextsTruth is textTruth by the bitmaps of texts: of those for which the
// expression is true or of the others, whichever are fewer. A text for which it
// fails may be one that no candidate has, so then each is looked at.
func (n *expr) fewTextsTruth(v *view, column *tile.Column, among, yes, unknown tile.Bitmap) error {
	var codes [isUnknown + 1][]uint32
	var room [isUnknown + 1][fewTexts]uint32
	for d := range codes {
		codes[d] = room[d][:0]
	}
	ofNull, err := n.text.value(v, &place{})
	for code, text := range column.Dict {
		if err != nil {
			return n.eachTextTruth(v, column, among, yes, unknown)
		}
		var x event.Value
		x, err = n.text.value(v, &place{given: event.String(text)})
		codes[verdictOf(x)] = append(codes[verdictOf(x)], uint32(code))
	}
	if err != nil {
		return n.eachTextTruth(v, column, among, yes, unknown)
	}
	if len(codes[isTrue]) <= len(codes[isFalse])+len(codes[isUnknown]) {
		column.Planes.Match(codes[isTrue], v.Rows, yes)
		yes.And(column.Present)
	} else {
		column.Planes.Match(append(codes[isFalse], codes[isUnknown]...), v.Rows, unknown)
		copy(yes, column.Present)
		yes.AndNot(unknown)
	}
	clear(unknown)
	if len(codes[isUnknown]) > 0 {
		column.Planes.Match(codes[isUnknown], v.Rows, unknown)
		unknown.And(column.Present)
	}
	yes.And(among)
	unknown.And(among)
	null := v.copyOf(among)
	null.AndNot(column.Present)
	switch verdictOf(ofNull) {
	case isTrue:
		yes.Or(null)
	case isUnknown:
		unknown.Or(null)
	}
	return nil
}

// eachTextTruth is textTruth by the bitmap of each text.
func (n *expr) eachTextTruth(v *view, column *tile.Column, among, yes, unknown tile.Bitmap) error {
	rows := v.bitmap(v.Rows)
	decide := func(p *place) error {
		if rows.Next(0, v.Rows) == v.Rows {
			return nil
		}
		x, err := n.text.value(v, p)
		if err != nil {
			return err
		}
		switch verdictOf(x) {
		case isTrue:
			yes.Or(rows)
		case isUnknown:
			unknown.Or(rows)
		}
		return nil
	}
	copy(rows, among)
	rows.AndNot(column.Present)
	if err := decide(&place{}); err != nil {
		return err
	}
	for code, text := range column.Dict {
		column.Planes.Match([]uint32{uint32(code)}, v.Rows, rows)
		rows.And(column.Present)
		rows.And(among)
		if err := decide(&place{given: event.String(text)}); err != nil {
			return err
		}
	}
	return nil
}

type verdict uint8

const (
	undecided verdict = iota
	isFalse
	isTrue
	isUnknown
)

func verdictOf(x event.Value) verdict {
	switch {
	case x.IsNull():
		return isUnknown
	case x.Bool():
		return isTrue
	}
	return isFalse
}

func (d verdict) set(row int, yes, unknown tile.Bitmap) {
	switch d {
	case isTrue:
		yes.Set(row)
	case isUnknown:
		unknown.Set(row)
	}
}

// customerTruth decides once for every customer who has a candidate.
func (n *expr) customerTruth(v *view, among, yes, unknown tile.Bitmap) error {
	for c := range v.Customers() {
		lo, hi := v.Range(c)
		row := among.Next(lo, hi)
		if row == hi {
			continue
		}
		x, err := n.value(v, &place{row: row, customer: c, last: row})
		if err != nil {
			return err
		}
		verdict := verdictOf(x)
		for ; row < hi; row = among.Next(row+1, hi) {
			verdict.set(row, yes, unknown)
		}
		if err := v.tick(hi - lo); err != nil {
			return err
		}
	}
	return nil
}

// rowTruth evaluates row by row.
func (n *expr) rowTruth(v *view, among, yes, unknown tile.Bitmap) error {
	p := place{}
	for row := among.Next(0, v.Rows); row < v.Rows; row = among.Next(row+1, v.Rows) {
		for int(v.Starts[p.customer+1]) <= row {
			p.customer++
		}
		p.row, p.last = row, row
		x, err := n.value(v, &p)
		if err != nil {
			return err
		}
		verdictOf(x).set(row, yes, unknown)
		if err := v.tick(1); err != nil {
			return err
		}
	}
	return nil
}

// numberTruth compares a numeric property or the time with a constant, without
// making values of the rows. It reports whether the expression is of this kind.
func (n *expr) numberTruth(v *view, among, yes, unknown tile.Bitmap) bool {
	if n.op < opEq || n.op > opGe {
		return false
	}
	f, c := n.args[0], n.args[1]
	if f.op != opField || f.scope != query.EventScope || c.op != opConst || c.constant.IsNull() {
		return false
	}
	switch {
	case f.field == fieldTime && c.constant.Type() == event.TimeType:
		bound := c.constant.Time()
		for row := among.Next(0, v.Rows); row < v.Rows; row = among.Next(row+1, v.Rows) {
			if compared(n.op, v.Time.At(row), bound) {
				yes.Set(row)
			}
		}
		return true
	case f.field != fieldProperty:
		return false
	}
	column := v.column(f.column)
	if column == nil {
		copy(unknown, among)
		return true
	}
	switch {
	case column.Type == event.FloatType && c.constant.Type() == event.FloatType:
		compareColumn(n.op, column.Floats, c.constant.Float(), column.Present, among, yes, unknown, v.Rows)
	case column.Type == c.constant.Type() && (column.Type == event.IntegerType || column.Type == event.TimeType):
		compareColumn(n.op, column.Ints, c.constant.Int(), column.Present, among, yes, unknown, v.Rows)
	default:
		return false
	}
	return true
}

func compareColumn[T int64 | float64](op opcode, values []T, bound T, present, among, yes, unknown tile.Bitmap, rows int) {
	for i := range among {
		unknown[i] = among[i] &^ present[i]
		if seeded.On("null_equals") {
			yes[i] |= unknown[i]
		}
	}
	for row := among.Next(0, rows); row < rows; row = among.Next(row+1, rows) {
		if present.Get(row) && compared(op, values[row], bound) {
			yes.Set(row)
		}
	}
}

func compared[T int64 | float64 | event.Time](op opcode, x, y T) bool {
	switch op {
	case opEq:
		return x == y
	case opNe:
		return x != y
	case opLt:
		return x < y
	case opLe:
		return x <= y
	case opGt:
		return x > y
	}
	return x >= y
}
