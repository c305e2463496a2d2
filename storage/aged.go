package storage

import (
	"math"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"wend/event"
	"wend/internal/seeded"
	"wend/tile"
)

// aged is the rows of a segment that lie before the store's cutoff. They are on
// the disk until the segment is written anew or removed, and nothing shows
// them. It does not change: another cutoff makes another one. Rows that the
// segment's mask leaves out anyway are not counted.
type aged struct {
	before   event.Time
	least    event.Time // of the rows that are left; MaxInt64: there are none
	rows     int64
	imports  []int64 // rows by import code
	events   []int64 // and by event
	channels []int64
}

// hides reports whether a block has rows that are left out.
func (a *aged) hides(least event.Time) bool { return a != nil && least < a.before }

// drop marks the rows that are left out.
func (a *aged) drop(dropped tile.Bitmap, times []event.Time) {
	for row, t := range times {
		if t < a.before {
			dropped.Set(row)
		}
	}
}

// aged counts the rows of a source before a time; nil: there are none.
func (c *cache) aged(src *source, before event.Time, m *mask) (*aged, error) {
	if src.seg.MinTime >= before {
		return nil, nil
	}
	if src.seg.MaxTime < before && m == nil {
		return &aged{before, math.MaxInt64, src.seg.Rows, src.seg.ImportCounts, src.seg.EventCounts, src.seg.ChannelCounts}, nil
	}
	// Each hour this reads segments that may cover years: with all processors, where that is worth it.
	workers := min(runtime.GOMAXPROCS(0), int(src.seg.Rows>>16)+1)
	counts := make([]*aged, workers)
	var g errgroup.Group
	for w := range counts {
		a := &aged{before: before, least: math.MaxInt64, imports: make([]int64, len(src.seg.Imports)), events: make([]int64, len(src.seg.Events)), channels: make([]int64, len(src.seg.Channels))}
		counts[w] = a
		g.Go(func() error {
			return shielded(func() error {
				for index := w; index < 1<<src.seg.PrefixBits; index += workers {
					if err := c.countAged(a, src, index, m); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, a := range counts[1:] {
		counts[0].add(a)
	}
	return counts[0], nil
}

// add adds the rows of other blocks.
func (a *aged) add(o *aged) {
	a.least = min(a.least, o.least)
	a.rows += o.rows
	for _, lists := range [][2][]int64{{a.imports, o.imports}, {a.events, o.events}, {a.channels, o.channels}} {
		for code, n := range lists[1] {
			lists[0][code] += n
		}
	}
}

func (c *cache) countAged(a *aged, src *source, index int, m *mask) error {
	b, stats := src.block(index), src.seg.Stats(index)
	if b == nil {
		return nil
	}
	if !a.hides(stats.MinTime) {
		a.least = min(a.least, stats.MinTime)
		return nil
	}
	b, err := c.read(b, false)
	if err != nil {
		return err
	}
	imports, err := b.Import()
	if err != nil {
		return err
	}
	channel, err := c.channel(b, false)
	if err != nil {
		return err
	}
	times := make([]event.Time, b.Rows())
	b.Time.Decode(0, times)
	for customer := range len(b.Starts) - 1 {
		if m.has(b.index, customer) {
			continue
		}
		row, end := int(b.Starts[customer]), int(b.Starts[customer+1])
		for ; row < end && times[row] < a.before; row++ { // in order of time
			a.rows++
			a.imports[codeAt(imports, row)]++
			a.events[b.Event.At(row)]++
			code := uint32(0)
			if channel != nil {
				code = channel.At(row)
			}
			a.channels[code]++
		}
		if row < end {
			a.least = min(a.least, times[row])
		}
	}
	return nil
}

// agedRecord is aged as the manifest has it, of a segment that nobody is erased
// from: an opening need not count. Lists are by code, without zeros.
type agedRecord struct {
	Segment  uint64        `json:"segment"`
	Rows     int64         `json:"rows"`
	Least    event.Time    `json:"least"`
	Imports  map[int]int64 `json:"imports"`
	Events   map[int]int64 `json:"events"`
	Channels map[int]int64 `json:"channels"`
}

func (a *aged) record(segment uint64) agedRecord {
	sparse := func(counts []int64) map[int]int64 {
		m := map[int]int64{}
		for code, n := range counts {
			if n != 0 {
				m[code] = n
			}
		}
		return m
	}
	return agedRecord{segment, a.rows, a.least, sparse(a.imports), sparse(a.events), sparse(a.channels)}
}

// recorded is what the manifest knows of a file's rows before the cutoff; nil:
// they have to be counted, as where rows of an erased identity do not count.
func (s *state) recorded(f *segmentFile) *aged {
	if s.retain == nil || f.mask != nil {
		return nil
	}
	i := slices.IndexFunc(s.retain.Aged, func(r agedRecord) bool { return r.Segment == f.record.ID })
	if i < 0 {
		return nil
	}
	r := s.retain.Aged[i]
	dense := func(m map[int]int64, names int) []int64 {
		counts, left := make([]int64, names), r.Rows
		for code, n := range m {
			if code < 0 || code >= names {
				return nil
			}
			counts[code] = n
			left -= n
		}
		if left != 0 {
			return nil
		}
		return counts
	}
	a := &aged{s.retain.Cutoff, r.Least, r.Rows, dense(r.Imports, len(f.seg.Imports)), dense(r.Events, len(f.seg.Events)), dense(r.Channels, len(f.seg.Channels))}
	if a.imports == nil || a.events == nil || a.channels == nil {
		return nil
	}
	return a
}

// age brings what is known of a file's old rows up to the store's cutoff. The
// caller holds mu, or is the only one who knows the file.
func (s *Store) age(f *segmentFile) error {
	before := s.state().cutoff()
	if f.agedTo == before && f.agedBy == f.mask {
		return nil
	}
	a := s.state().recorded(f)
	if a == nil {
		var err error
		if a, err = s.cache.aged(&f.source, before, f.mask); err != nil {
			return err
		}
	}
	f.aged, f.agedTo, f.agedBy = a, before, f.mask
	return nil
}

// ageFiles brings all open segments up to the cutoff, after an opening.
func (s *Store) ageFiles() error {
	if seeded.On("cutoff_forgotten") {
		return nil
	}
	for _, r := range s.state().segments {
		if f := s.segments[r.ID]; f != nil {
			if err := s.age(f); err != nil && !s.leaveOutUnread(f, err) {
				return err
			}
		}
	}
	return nil
}

// times calls see with the time of every row of the source that is shown.
func (s *source) times(see func(event.Time)) error {
	for index := range 1 << s.seg.PrefixBits {
		b := s.block(index)
		if b == nil {
			continue
		}
		read, err := s.seg.Block(index)
		if err != nil {
			return err
		}
		b.block = read
		dropped, err := b.droppedRows()
		if err != nil {
			return err
		}
		times := make([]event.Time, b.Rows())
		read.Time.Decode(0, times)
		for row, t := range times {
			if dropped == nil || !dropped.Get(row) {
				see(t)
			}
		}
	}
	return nil
}
