package engine

// directGroups finds the groups of many rows of a tile at once, where a single
// column tells them: event, channel, or a property.
type directGroups struct {
	rows  []uint32
	ids   []uint32
	known []uint32 // by code of the value: group and one, 0 not known
	place place
}

// direct reports whether a column of the anchor's row is all that groups go by.
func (g *grouping) direct() bool {
	return len(g.by) == 1 && g.by[0].kind != anyExpression && g.calendar == nil && g.windows == nil && g.kept[0] == nil
}

// begin makes room for a number of rows.
func (d *directGroups) begin(n int) []uint32 {
	d.rows, d.ids = grown(d.rows, n)[:n], grown(d.ids, n)[:n]
	return d.rows
}

// groupRows is group for all rows of d.
func (w *grouper) groupRows(v *view, d *directGroups) ([]uint32, error) {
	c := w.coders[0]
	for i, row := range d.rows {
		d.place.row = int(row)
		code, err := c.code(v, &d.place)
		if err != nil {
			return nil, err
		}
		for uint32(len(d.known)) <= code {
			if err := w.memory.take(4); err != nil {
				return nil, err
			}
			d.known = append(d.known, 0)
		}
		if id := d.known[code]; id != 0 {
			d.ids[i] = id - 1
			w.groups[id-1].anchors++
			continue
		}
		id, err := w.find(0, 0, []uint32{code})
		if err != nil {
			return nil, err
		}
		d.known[code], d.ids[i] = uint32(id)+1, uint32(id)
	}
	return d.ids, nil
}
