package storage

import (
	"cmp"
	"math/bits"
	"slices"

	"wend/event"
	"wend/tile"
)

// part is the customers of one source that take part in a merge: those of
// one block, or of the piece of a block that a finer prefix cuts out of it.
type part struct {
	lsn        uint64 // FirstLSN of the source: earlier sources come first at equal times
	base       uint32 // what row 0 is in the block
	names      *tile.Strings
	hashes     []uint64
	starts     []uint32
	times      []event.Time // nil: they are in encoded, and few are looked at
	encoded    *tile.Times
	ranks      []uint32    // tie ranks; nil: all 0
	dropped    tile.Bitmap // rows to leave out; nil: none
	onlyStored bool        // rows that decide about duplicates and are not written
	lo, hi     int         // customers of the block that belong to it
}

// member is one identity in one part.
type member struct {
	hash           uint64
	part, customer uint32
}

func (m member) name(parts []*part) string { return parts[m.part].names.At(int(m.customer)) }

// hashesOf hashes the names of a block.
func hashesOf(names *tile.Strings) []uint64 {
	hashes := make([]uint64, names.Len())
	for i := range hashes {
		hashes[i] = customerHash(names.At(i))
	}
	return hashes
}

// cut returns the customers of a block whose hash begins with prefix p of the given bits.
func cut(hashes []uint64, p, prefixBits int) (lo, hi int) {
	if prefixBits == 0 {
		return 0, len(hashes)
	}
	find := func(p int) int {
		if p>>prefixBits != 0 {
			return len(hashes)
		}
		at, _ := slices.BinarySearch(hashes, uint64(p)<<(64-prefixBits))
		return at
	}
	return find(p), find(p + 1)
}

// members lists the identities of parts by (hash, name, part). All hashes
// begin with the same prefixBits bits.
func members(parts []*part, prefixBits int) []member {
	return new(memberLists).list(parts, prefixBits)
}

// memberLists is the memory in which members are sorted, for one list after the other.
type memberLists struct {
	all, sorted []member
	ends, next  []uint32
}

// list is members; what it returns is valid until the next.
func (l *memberLists) list(parts []*part, prefixBits int) []member {
	total := 0
	for _, p := range parts {
		total += p.hi - p.lo
	}
	all := slices.Grow(l.all[:0], total)
	for i, p := range parts {
		for c := p.lo; c < p.hi; c++ {
			all = append(all, member{p.hashes[c], uint32(i), uint32(c)})
		}
	}
	l.all = all
	if len(parts) < 2 {
		return all
	}
	// The bits behind the prefix are evenly spread, so a bucket for every
	// entry leaves little to compare.
	k := min(bits.Len(uint(total)), 20)
	bucket := func(m member) int { return int(m.hash << prefixBits >> (64 - k)) }
	l.ends = slices.Grow(l.ends[:0], 1<<k+1)[:1<<k+1]
	ends := l.ends
	clear(ends)
	for _, m := range all {
		ends[bucket(m)+1]++
	}
	for i := 1; i < len(ends); i++ {
		ends[i] += ends[i-1]
	}
	l.sorted = slices.Grow(l.sorted[:0], total)[:total]
	sorted := l.sorted
	l.next = append(l.next[:0], ends...)
	next := l.next
	for _, m := range all {
		b := bucket(m)
		sorted[next[b]] = m
		next[b]++
	}
	for i := range 1 << k {
		if ends[i+1]-ends[i] < 2 {
			continue
		}
		slices.SortFunc(sorted[ends[i]:ends[i+1]], func(a, b member) int {
			if a.hash != b.hash {
				return cmp.Compare(a.hash, b.hash)
			}
			if c := cmp.Compare(a.name(parts), b.name(parts)); c != 0 {
				return c
			}
			return cmp.Compare(a.part, b.part)
		})
	}
	return sorted
}

// same returns the end of the members from lo on that are one identity.
func same(parts []*part, all []member, lo int) int {
	hi := lo + 1
	for hi < len(all) && all[hi].hash == all[lo].hash && all[hi].name(parts) == all[lo].name(parts) {
		hi++
	}
	return hi
}

// run is consecutive rows of one identity in one part, in order.
type run struct {
	part     uint32
	row, end uint32
}

// runsOf appends the rows of a member that are not dropped.
func runsOf(runs []run, parts []*part, m member) []run {
	p := parts[m.part]
	lo, hi := p.starts[m.customer], p.starts[m.customer+1]
	if p.dropped == nil {
		if lo == hi {
			return runs
		}
		return append(runs, run{m.part, lo, hi})
	}
	first := len(runs) // runs before are other members': their rows may be neighbours, but not in order
	for row := lo; row < hi; row++ {
		if p.dropped.Get(int(row)) {
			continue
		}
		if k := len(runs) - 1; k >= first && runs[k].end == row {
			runs[k].end++
		} else {
			runs = append(runs, run{m.part, row, row + 1})
		}
	}
	return runs
}

// at returns a row's time.
func (p *part) at(row uint32) event.Time {
	if p.times == nil {
		return p.encoded.At(int(row))
	}
	return p.times[row]
}

// compareRows orders rows by time, then arrival.
func compareRows(parts []*part, p, prow, q, qrow uint32) int {
	a, b := parts[p], parts[q]
	if c := cmp.Compare(a.at(prow), b.at(qrow)); c != 0 {
		return c
	}
	if c := cmp.Compare(a.lsn, b.lsn); c != 0 {
		return c
	}
	var ra, rb uint32
	if a.ranks != nil {
		ra = a.ranks[prow]
	}
	if b.ranks != nil {
		rb = b.ranks[qrow]
	}
	if c := cmp.Compare(ra, rb); c != 0 {
		return c
	}
	if c := cmp.Compare(p, q); c != 0 {
		return c
	}
	return cmp.Compare(prow, qrow)
}

// join appends the rows of runs in order. It uses up runs.
func join(out *pieces, parts []*part, runs []run) {
	if len(runs) > 1 {
		slices.SortFunc(runs, func(a, b run) int { return compareRows(parts, a.part, a.row, b.part, b.row) })
	}
	apart := true
	for i := 1; i < len(runs) && apart; i++ {
		apart = compareRows(parts, runs[i-1].part, runs[i-1].end-1, runs[i].part, runs[i].row) < 0
	}
	if apart {
		for _, r := range runs {
			out.add(r.part, r.row, r.end-r.row)
		}
		return
	}
	// Overlap in time is the exception: repeatedly take from the run that is
	// first all rows that stand before the next run's. runs stays sorted.
	for len(runs) > 1 {
		first, second := &runs[0], &runs[1]
		from := first.row
		first.row++
		for first.row < first.end && compareRows(parts, first.part, first.row, second.part, second.row) < 0 {
			first.row++
		}
		out.add(first.part, from, first.row-from)
		if first.row == first.end {
			runs = runs[1:]
			continue
		}
		moved := *first
		k := 1
		for k < len(runs) && compareRows(parts, runs[k].part, runs[k].row, moved.part, moved.row) < 0 {
			runs[k-1] = runs[k]
			k++
		}
		runs[k-1] = moved
	}
	if len(runs) == 1 {
		out.add(runs[0].part, runs[0].row, runs[0].end-runs[0].row)
	}
}
