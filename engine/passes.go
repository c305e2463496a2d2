package engine

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"wend/event"
	"wend/internal/seeded"
)

// passes find quantiles of more values than a statement may keep, by going
// over the data several times: the selection of J. I. Munro and
// M. S. Paterson, "Selection and sorting with limited storage", Theoretical
// Computer Science 12 (1980). A pass counts the values of each group in bins.
// The counts tell in which bin a wanted rank is, and the next pass looks at the
// values of that bin only: it keeps them where they fit, and else counts them in
// narrower bins. So every value is looked at, no more are kept than fit, and the
// answer is the one that all of them give.
//
// The operator runs once a pass, as it is, and makes an answer each time; that of
// the last pass counts. Where it would list values, it has a worker's noter note
// them, and where it would select from the lists, it asks the notes.
type passes struct {
	r     *run
	bytes int64 // for what is noted of values, at most; 0: as much as there is
	spare atomic.Int64
	noted atomic.Int64 // bytes of the bins of this pass

	twice bool // the operator needs a second pass itself

	mu       sync.Mutex
	begun    bool                // this is not the first pass
	rankings map[string]*ranking // by the keys of their notes
	asked    []*ranking
}

const (
	binsMost  = 1 << 12
	binsLeast = 16

	noteBytes    = 160 // a note, with its key
	rankingBytes = 320 // a ranking, with an interval or two
)

// severalPasses is what an operator is whose values can be looked at in passes.
type severalPasses interface{ inPasses() bool }

// run answers in as many passes as it takes.
func (p *passes) run(op operator) (*Result, error) {
	memory := p.r.memory
	before := memory.used.Load() - memory.lasting.Load()
	for {
		p.spare.Store(p.room(0) / 4)
		p.noted.Store(0)
		res, err := p.r.answer(op)
		if err != nil {
			return nil, err
		}
		took := memory.used.Load() - memory.lasting.Load() - before
		twice := p.twice && !p.begun
		open, err := p.open()
		if err != nil || len(open) == 0 && !twice {
			return res, err
		}
		memory.release(took)
		p.r.rows.left = 0
		if err := p.next(open, p.room(took-p.noted.Load())); err != nil {
			return nil, err
		}
		p.r.stats.again()
	}
}

// room is how many bytes values may take, where the rest of a pass takes so many.
func (p *passes) room(rest int64) int64 {
	m := p.r.memory
	left := m.limit - m.used.Load()
	if m.pool != nil {
		left = min(left, m.pool.limit-m.pool.used.Load())
	}
	if left = max(0, left-rest) / 4 * 3; p.bytes > 0 {
		left = min(left, p.bytes)
	}
	return left
}

// open lists the intervals in which values are still to be found.
func (p *passes) open() (open []*interval, err error) {
	p.begun = true
	for i, k := range p.asked {
		if i%rowsBetweenChecks == 0 {
			if err := p.r.look(); err != nil {
				return nil, err
			}
		}
		for _, x := range k.open {
			if x.kept != nil {
				p.r.memory.release(8 * int64(len(x.kept)))
				p.r.memory.lasting.Add(-8 * int64(len(x.kept)))
			}
			x.kept, x.counts, x.bins = nil, nil, 0
			open = append(open, x)
		}
		for _, bytes := range k.kept {
			p.r.memory.release(bytes)
			p.r.memory.lasting.Add(-bytes)
		}
		k.kept = k.kept[:0]
	}
	return open, nil
}

// next decides what the next pass does with each interval: small ones are kept,
// the others counted in bins; those for which there is no room wait.
func (p *passes) next(open []*interval, room int64) error {
	slices.SortStableFunc(open, func(a, b *interval) int { return cmp.Compare(a.n, b.n) })
	lists := room / 2
	for len(open) > 0 && 8*open[0].n <= lists {
		x := open[0]
		if err := p.lasting(8 * x.n); err != nil {
			return err
		}
		x.kept = make([]uint64, x.n)
		x.next.Store(0)
		lists -= 8 * x.n
		room -= 8 * x.n
		open = open[1:]
	}
	if len(open) == 0 {
		return nil
	}
	perBin := 8 * int64(p.r.opt.Workers)
	bins := room / perBin / int64(len(open))
	if bins < binsLeast {
		bins = binsLeast
		open = open[:min(len(open), max(1, int(room/perBin/binsLeast)))]
	}
	bins = min(bins, binsMost)
	for _, x := range open {
		x.scale = scale{from: x.from}
		switch {
		case x.durations && bins >= magnitudes && x.to-x.from > 1<<20:
			x.magnitudes, x.bins = true, magnitudes
		default:
			for (x.to-x.from)>>x.shift >= uint64(bins) {
				x.shift++
			}
			x.bins = int((x.to-x.from)>>x.shift) + 1
		}
	}
	return nil
}

// lasting reserves bytes that are held beyond the pass.
func (p *passes) lasting(bytes int64) error {
	if err := p.r.memory.reserve(bytes); err != nil {
		return err
	}
	p.r.memory.lasting.Add(bytes)
	return nil
}

// ranking is what is known of the values of one group of the answer.
type ranking struct {
	n      int64
	wanted []wantedRank // rising
	open   []*interval  // rising
	kept   []int64      // bytes of lists that are not needed any more
}

type wantedRank struct {
	rank  int64
	value uint64
	known bool
}

// scale is how values are counted in bins.
type scale struct {
	from       uint64
	magnitudes bool // bins are those of gapCounts; otherwise of 1<<shift values
	shift      uint8
}

func (s *scale) bin(x uint64) int {
	if x -= s.from; s.magnitudes {
		return magnitude(event.Duration(x))
	}
	return int(x >> s.shift)
}

// bounds are the least and the greatest value of a bin.
func (s *scale) bounds(bin int) (from, to uint64) {
	if s.magnitudes {
		from, to = s.from+uint64(magnitudeStart(bin)), s.from+uint64(magnitudeStart(bin+1))-1
		if bin == magnitudes-1 {
			to = math.MaxUint64
		}
		return from, to
	}
	from = s.from + uint64(bin)<<s.shift
	if to = from + (1<<s.shift - 1); to < from {
		to = math.MaxUint64
	}
	return from, to
}

// interval is where some of a ranking's wanted ranks are.
type interval struct {
	scale
	durations bool   // values are most likely spread as magnitudes are
	to        uint64 // the greatest value in it
	before, n int64  // values of the group below it, and in it

	bins   int       // of this pass; 0: values are kept, or it waits
	counts [][]int64 // one list a worker
	kept   []uint64
	next   atomic.Int64 // where the next value is kept
}

// noter is a worker's part of the passes. nil: values are listed.
type noter struct {
	*passes
	memory *ration
	bins   map[*ranking][][]int64
}

// noter makes a worker's noter, nil if values fit.
func (r *run) noter(memory *ration) *noter {
	if r.passes == nil {
		return nil
	}
	return &noter{passes: r.passes, memory: memory, bins: map[*ranking][][]int64{}}
}

// named is a group that is named later on; nil where nothing is noted.
func (w *noter) named(group *groupKey) *groupKey {
	if w == nil {
		return nil
	}
	named := *group
	return &named
}

// note is what a worker notes of the values of one of its groups.
type note struct {
	key         string
	n           int64
	least, most uint64
	of          *ranking // nil in the first pass, and where nobody asked
	begun       bool
	counts      [][]int64 // by interval of the ranking
	whole       scale     // of the first pass, whose bins are counts[0] where there is room
}

// note makes the note of a group, which a key names in all passes: that of the
// grouping and numbers of the operator's own.
func (w *noter) note(group *groupKey, durations bool, further ...uint32) (*note, error) {
	if err := w.memory.take(noteBytes); err != nil {
		return nil, err
	}
	var key []byte
	if group != nil {
		key = group.bytes()
	}
	for _, n := range further {
		key = binary.LittleEndian.AppendUint32(key, n)
	}
	x := &note{key: string(key), begun: w.begun}
	if !w.begun {
		x.least = math.MaxUint64
		x.whole = scale{magnitudes: durations, shift: 52}
		size := int64(1) << (64 - 52)
		if durations {
			size = magnitudes
		}
		if w.spare.Add(-8*size) >= 0 {
			w.noted.Add(8 * size)
			x.counts = [][]int64{make([]int64, size)}
			return x, w.memory.take(8 * size)
		}
		return x, nil
	}
	w.mu.Lock()
	x.of = w.rankings[x.key]
	w.mu.Unlock()
	if x.of == nil {
		return x, nil
	}
	counts, ok := w.bins[x.of]
	if !ok {
		for _, part := range x.of.open {
			bytes := 8 * int64(part.bins)
			if err := w.memory.take(bytes); err != nil {
				return nil, err
			}
			w.noted.Add(bytes)
			counts = append(counts, make([]int64, part.bins))
		}
		w.mu.Lock()
		for i, part := range x.of.open {
			part.counts = append(part.counts, counts[i])
		}
		w.mu.Unlock()
		w.bins[x.of] = counts
	}
	x.counts = counts
	return x, nil
}

// duration notes an elapsed time, which is never negative.
func (x *note) duration(d event.Duration) { x.add(uint64(d)) }

// float notes a number.
func (x *note) float(f float64) { x.add(floatKey(f)) }

// floatKey puts numbers in their order. -0 is none of them.
func floatKey(f float64) uint64 {
	bits := math.Float64bits(f)
	if bits>>63 != 0 {
		return ^bits
	}
	return bits | 1<<63
}

func floatOfKey(key uint64) float64 {
	if key>>63 != 0 {
		return math.Float64frombits(key &^ (1 << 63))
	}
	return math.Float64frombits(^key)
}

func (x *note) add(key uint64) {
	x.n++
	if !x.begun {
		x.least, x.most = min(x.least, key), max(x.most, key)
		if x.counts != nil {
			x.counts[0][x.whole.bin(key)]++
		}
		return
	}
	if x.of == nil {
		return
	}
	for i, part := range x.of.open {
		if key < part.from || key > part.to {
			continue
		}
		if part.kept != nil {
			part.kept[part.next.Add(1)-1] = key
		} else if counts := x.counts[i]; len(counts) > 0 {
			counts[part.bin(key)]++
		}
		return
	}
}

// quantiles returns those of the values noted, as the function of that name does,
// or nil as long as they are not known.
func (p *passes) quantiles(shares []float64, decode func(uint64) float64, notes []*note) (values []float64, err error) {
	n := int64(0)
	for _, x := range notes {
		n += x.n
	}
	if n == 0 {
		return nil, nil
	}
	of := notes[0].of
	if !p.begun {
		if of, err = p.ranking(shares, n, notes); err != nil {
			return nil, err
		}
	} else {
		of.settle()
	}
	if len(of.open) > 0 {
		return nil, nil
	}
	value := func(rank int64) float64 {
		i, _ := slices.BinarySearchFunc(of.wanted, rank, func(w wantedRank, rank int64) int { return cmp.Compare(w.rank, rank) })
		return decode(of.wanted[i].value)
	}
	for _, share := range shares {
		low, fraction := rankOf(share, n)
		a := value(low)
		if fraction > 0 {
			a += (value(low+1) - a) * fraction
		}
		values = append(values, a)
	}
	return values, nil
}

// rankOf is between which ranks of so many a share lies.
func rankOf(share float64, n int64) (low int64, fraction float64) {
	rank := share * float64(n-1)
	low = int64(math.Floor(rank))
	return low, rank - float64(low)
}

// ranking makes what is known after the first pass.
func (p *passes) ranking(shares []float64, n int64, notes []*note) (*ranking, error) {
	of := &ranking{n: n}
	for _, share := range shares {
		low, fraction := rankOf(share, n)
		of.want(low)
		if fraction > 0 {
			of.want(low + 1)
		}
	}
	whole := &interval{durations: notes[0].whole.magnitudes, scale: notes[0].whole, to: math.MaxUint64, n: n}
	least, most := uint64(math.MaxUint64), uint64(0)
	counted := true
	for _, x := range notes {
		least, most = min(least, x.least), max(most, x.most)
		if counted = counted && x.counts != nil; counted {
			whole.counts = append(whole.counts, x.counts[0])
		}
	}
	if counted {
		of.narrow(whole, least, most)
	} else {
		of.put(&interval{durations: whole.durations, scale: scale{from: least}, to: most, n: n}, of.wanted)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range notes {
		if err := p.lasting(noteBytes); err != nil {
			return nil, err
		}
		p.rankings[x.key] = of
	}
	p.asked = append(p.asked, of)
	return of, p.lasting(rankingBytes)
}

func (of *ranking) want(rank int64) {
	if n := len(of.wanted); n == 0 || of.wanted[n-1].rank < rank {
		of.wanted = append(of.wanted, wantedRank{rank: rank})
	}
}

// in returns the wanted ranks that lie in an interval.
func (of *ranking) in(x *interval) []wantedRank {
	from := 0
	for from < len(of.wanted) && of.wanted[from].rank < x.before {
		from++
	}
	to := from
	for to < len(of.wanted) && of.wanted[to].rank < x.before+x.n {
		to++
	}
	return of.wanted[from:to]
}

// put adds an interval with ranks that are wanted, unless it has but one value.
func (of *ranking) put(x *interval, ranks []wantedRank) {
	if x.from < x.to {
		of.open = append(of.open, x)
		return
	}
	for i := range ranks {
		ranks[i].value, ranks[i].known = x.from, true
	}
}

// settle makes of the intervals what the pass found out.
func (of *ranking) settle() {
	open := of.open
	of.open = nil
	for _, x := range open {
		switch {
		case x.kept != nil:
			ranks := of.in(x)
			for i := range ranks {
				ranks[i].value, ranks[i].known = selectRank(x.kept, int(ranks[i].rank-x.before)), true
			}
			of.kept = append(of.kept, 8*int64(len(x.kept)))
		case x.bins > 0:
			of.narrow(x, x.from, x.to)
		default:
			of.open = append(of.open, x) // it waited
		}
	}
}

// narrow replaces an interval by those of its bins in which wanted ranks are.
// No value is smaller than least, or greater than most.
func (of *ranking) narrow(x *interval, least, most uint64) {
	before := x.before
	for bin := range x.counts[0] {
		n := int64(0)
		for _, counts := range x.counts {
			n += counts[bin]
		}
		if n == 0 {
			continue
		}
		from, to := x.bounds(bin)
		part := &interval{durations: x.durations && !x.magnitudes, scale: scale{from: max(from, least)}, to: min(to, most), before: before, n: n}
		if ranks := of.in(part); len(ranks) > 0 {
			of.put(part, ranks)
		}
		if before += n; seeded.On("pass_forgets_below") {
			before = x.before + n
		}
	}
}
