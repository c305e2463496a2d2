package storage

import (
	"math"
	"time"

	"wend/event"
)

// A store is cut into time partitions so that a query reads, and retention
// drops, whole ones, and so that what is old is left alone when what is new is
// merged. They are wide: a tile that is one block as it is can be read as it
// is, while a journey that lies in several has to be put together from them. A
// year suits most data. Data that is thin for its span would be cut into
// crumbs, so the first events of a store choose the width, and the manifest
// keeps the choice. Stores that were made before this was so have months.
const (
	widthMonth   = "month"
	widthYear    = "year"
	widthDecade  = "decade"
	widthCentury = "century"
	widthAll     = "all"

	partitionsFew  = 4         // this many partitions are never too many
	partitionsRows = 1_000_000 // beyond that, each should hold so many rows on average
)

// widths are those that are chosen from.
var widths = []string{widthYear, widthDecade, widthCentury, widthAll}

func yearsOf(width string) int {
	switch width {
	case widthYear:
		return 1
	case widthDecade:
		return 10
	case widthCentury:
		return 100
	}
	return 10000
}

// partitionOf returns the partition that holds t, and the times [from, to) of it.
func partitionOf(width string, t event.Time) (partition int64, from, to event.Time) {
	std := t.Std()
	if width == widthMonth {
		partition = int64(std.Year())*12 + int64(std.Month()) - 1
		begin := time.Date(std.Year(), std.Month(), 1, 0, 0, 0, 0, time.UTC)
		return partition, event.At(begin), event.At(begin.AddDate(0, 1, 0))
	}
	n := yearsOf(width)
	if n == 10000 {
		return 0, math.MinInt64, math.MaxInt64
	}
	partition = int64(std.Year() / n)
	begin := time.Date(int(partition)*n, 1, 1, 0, 0, 0, 0, time.UTC)
	return partition, event.At(begin), event.At(begin.AddDate(n, 0, 0))
}

// partitioner finds the partitions of many times, most of which fall where the last one did.
type partitioner struct {
	width     string
	partition int64
	from, to  event.Time // empty at first
}

func (p *partitioner) of(t event.Time) int64 {
	if t < p.from || t >= p.to {
		p.partition, p.from, p.to = partitionOf(p.width, t)
	}
	return p.partition
}

// histogram counts rows by month, so that a width can be chosen and
// partitions' sizes are known before anything is written.
type histogram struct {
	month partitioner
	rows  map[int64]int64
}

func newHistogram() *histogram {
	return &histogram{month: partitioner{width: widthMonth}, rows: map[int64]int64{}}
}

func (h *histogram) add(times []event.Time) {
	for lo := 0; lo < len(times); {
		m := h.month.of(times[lo])
		hi := lo + 1
		for hi < len(times) && times[hi] >= h.month.from && times[hi] < h.month.to {
			hi++
		}
		h.rows[m] += int64(hi - lo)
		lo = hi
	}
}

// by returns the rows of each partition of a width.
func (h *histogram) by(width string) map[int64]int64 {
	rows := map[int64]int64{}
	for m, n := range h.rows {
		switch years := yearsOf(width); {
		case width == widthMonth:
			rows[m] += n
		case years == 10000:
			rows[0] += n
		default:
			rows[m/12/int64(years)] += n
		}
	}
	return rows
}

// width chooses the narrowest width that does not cut the rows into crumbs.
func (h *histogram) width() string {
	total := int64(0)
	for _, n := range h.rows {
		total += n
	}
	for _, w := range widths {
		if int64(len(h.by(w))) <= partitionsFew+total/partitionsRows {
			return w
		}
	}
	return widthAll
}
