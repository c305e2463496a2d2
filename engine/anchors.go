package engine

import "wend/tile"

// anchors returns the rows that exist, lie in the range of during and belong to
// customers of the cohort; nil: all. With next they are followed by the event
// of the customer that comes after the range.
func (v *view) anchors(next bool) tile.Bitmap {
	during := &v.run.plan.During
	if v.members == nil && !during.Set {
		return v.rows
	}
	rows := v.bitmap(v.Rows)
	if during.Set {
		behind := v.during(rows)
		if next {
			v.firstOf(behind)
			rows.Or(behind)
		}
	} else {
		rows.Fill(v.Rows)
	}
	if v.members != nil {
		rows.And(v.memberRows())
	}
	if v.rows != nil {
		rows.And(v.rows)
	}
	return rows
}

// during sets rows, which come empty, to those in the range of during, and
// returns those that come after it.
func (v *view) during(rows tile.Bitmap) (behind tile.Bitmap) {
	d := &v.run.plan.During
	behind = v.bitmap(v.Rows)
	v.Time.Since(d.From, v.Firsts, rows)
	v.Time.Since(d.To, v.Firsts, behind)
	rows.AndNot(behind)
	return behind
}

// firstOf leaves of rows each customer's first that exists.
func (v *view) firstOf(rows tile.Bitmap) {
	if v.rows != nil {
		rows.And(v.rows)
	}
	rows.Heads(v.Firsts, rows)
}

// memberRows returns the rows of the customers in the cohort, of which there is one.
func (v *view) memberRows() tile.Bitmap {
	rows := v.bitmap(v.Rows)
	for c := v.members.Next(0, v.Customers()); c < v.Customers(); c = v.members.Next(c+1, v.Customers()) {
		lo, hi := v.Range(c)
		rows.SetRange(lo, hi)
	}
	return rows
}
