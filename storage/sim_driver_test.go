package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"wend/event"
	"wend/storage/vfs/simfs"
)

// sim drives one store on a simulated machine through one seeded history.
type sim struct {
	seed   uint64
	r      *rand.Rand // decides what is done
	hookR  *rand.Rand // decides which crashes are looked at
	fs     *simfs.FS
	order  simfs.Order
	store  *Store
	m      *simModel
	known  map[int64]*event.Event
	next   int64 // event number
	lives  int64
	errors int // that calls returned
	logger *slog.Logger
	large  bool   // batches of many events: ordinary sizes of everything
	width  string // of partitions: the events are of a few months
	seq    int
	clock  time.Time
	ids    *rand.Rand // the store's randomness

	copies *simCopies // backups and restores, nil in most runs
	ages   *simAges   // retention, nil in most runs

	callers *simCallers // others beside what is done, nil in most runs

	weights [simOps]int
	sizes   int // events of an ordinary batch, at most
	pins    []simPin
	fault   func(op *simfs.Op) simfs.Fault
	opening crashKind // what happened before the opening that goes on
	full    bool      // the disk has a budget

	openings uint64 // after a close: the ballast gets another size

	tally    *simTally
	explore  bool
	aim      int // crashes that a side of a call site is to have: they are tried where there are fewer only; 0: no aim
	crashIn  int // mutating operations until the power goes; 0: it stays
	crashed  *simfs.FS
	kind     crashKind
	log      []string
	problem  error
	mu       sync.Mutex
	states   int
	stateMax int
}

type simPin struct {
	snap *Snapshot
	got  map[string][]int64
}

// simTally counts over many runs, of several goroutines.
type simTally struct {
	mu      sync.Mutex
	states  int
	nested  int
	inside  map[string]int // crashes by call site and side
	tried   [4]int         // batches by size class
	crashes int
	rotated int
	came    int // callers beside others
}

func newSimTally() *simTally { return &simTally{inside: map[string]int{}} }

const (
	simAppend = iota
	simRepeat
	simResend
	simConflict
	simLoad
	simLink
	simUnlink
	simDefine
	simDrop
	simUndo
	simFlush
	simCompactStep
	simCompact
	simPinOp
	simUnpin
	simQuery
	simReopen
	simCrash
	simClock
	simSync
	simFaults
	simFill
	simReader
	simErase
	simEraseStep
	simOps
)

func newSim(seed uint64, tally *simTally) *sim {
	d := &sim{
		seed: seed, r: rand.New(rand.NewPCG(seed, 1)), hookR: rand.New(rand.NewPCG(seed, 2)), ids: rand.New(rand.NewPCG(seed, 3)),
		m: newSimModel(), known: map[int64]*event.Event{}, tally: tally, stateMax: 1 << 30,
		clock: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	d.width = []string{widthMonth, widthYear}[seed/8%2]
	d.order = simfs.Strict
	if d.r.IntN(5) == 0 {
		d.order = simfs.Ext4
	}
	for i := range d.weights { // swarm: some runs never do some things
		d.weights[i] = max(d.r.IntN(10)-2, 0)
	}
	d.weights[simAppend] += 4
	d.weights[simFill] /= 3
	d.weights[simCrash] /= 2
	d.sizes = 1 + d.r.IntN(12)
	d.fs = simfs.New(d.order)
	if seed%8 == 7 {
		d.copies = newSimCopies(seed)
	}
	if seed%8 == 0 || seed%8 == 2 {
		d.callers = &simCallers{r: rand.New(rand.NewPCG(seed, 5))}
	}
	if seed%8 == 3 || seed%8 == 4 {
		d.ages = newSimAges(seed, d.clock)
	}
	return d
}

func (d *sim) options(fs *simfs.FS) Options {
	ids := d.ids
	if fs != d.fs {
		ids = rand.New(rand.NewPCG(d.seed, 4))
	}
	if d.copies != nil {
		return d.copies.options(d, fs, ids)
	}
	return d.sizedOptions(fs, ids)
}

// sizedOptions make everything small, so that much happens in few steps.
func (d *sim) sizedOptions(fs *simfs.FS, ids *rand.Rand) Options {
	if d.large {
		return Options{FS: fs, Rand: ids, Clock: func() time.Time { return d.clock }, CacheBytes: 1 << 20}
	}
	opt := Options{
		FS: fs, Rand: ids, Clock: func() time.Time { return d.clock },
		Log: d.logger, Partition: d.width, MemtableEvents: 20 + int(d.seed%5)*10, SegmentRows: 30, ChunkRows: 20, BlockCustomers: 3,
		BallastBytes: int64(d.seed%3+d.openings%2) * 1500, CacheBytes: -1, // what is read is in files
		segmentsOpen: 1 + int(d.seed/2%3)*40, // one file of a merge, two, or as many as there are
	}
	if d.seed%2 == 1 && fs == d.fs {
		opt.CacheBytes = 1 << 16
	}
	if d.ages != nil {
		opt.Retention, opt.Uptime = simKeep, func() time.Duration { return d.ages.up }
	}
	return opt
}

func (d *sim) note(format string, args ...any) {
	d.log = append(d.log, fmt.Sprintf(format, args...))
}

// fail keeps the first problem; the run ends with it.
func (d *sim) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.problem == nil && err != nil {
		d.problem = err
	}
}

func (d *sim) failed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.problem
}

// run does a number of steps and ends with a liveness check.
func (d *sim) run(steps int) error {
	defer d.abandon()
	d.fs.Hook, d.fs.Fault = d.hook, d.decide
	if err := d.open(powerLost); err != nil {
		return err
	}
	for range steps {
		if d.copies != nil && d.copies.due() {
			d.copy()
		} else if d.ages != nil && d.ages.due() {
			d.age()
		} else {
			d.step()
		}
		if err := d.failed(); err != nil {
			return err
		}
		if d.crashed != nil {
			if err := d.afterCrash(); err != nil {
				return err
			}
		}
		d.settle()
	}
	d.calm()
	d.dropPins() // an erasure waits for them
	return d.live(d.store, d.m)
}

// open opens the store on d.fs and fixes the model by what is there.
func (d *sim) open(kind crashKind) error {
	for {
		if d.fs.Lied() { // what can be read is not what is stored: only a new start of the machine helps
			d.fs, kind = d.fs.Crash(d.r, simfs.AllKept), powerLost
			d.fs.Hook, d.fs.Fault = d.hook, d.decide
		}
		d.opening = kind
		s, err := Open("data/store", d.options(d.fs))
		if d.crashed != nil {
			if s != nil {
				s.release()
			}
			if d.fs, d.crashed = d.crashed, nil; d.kind == powerLost {
				kind = powerLost // once it is, it stays so until a store is open again
			}
			d.fs.Hook, d.fs.Fault = d.hook, d.decide
			continue
		}
		if err != nil && (d.fault != nil || d.full) {
			d.note("open failed with faults on: %v", err)
			d.errors++
			d.fault, d.full = nil, false
			d.fs.SetBudget(0)
			continue
		}
		if err != nil {
			return fmt.Errorf("open: %w", err)
		}
		if len(s.missingData()) > 0 && d.m.faulted && d.fault != nil {
			d.note("opened with faults on: %v", s.missingData())
			d.errors++
			kill(s)
			d.calm()
			continue
		}
		d.store = s
		fixed, err := d.m.adopt(s, d.known, kind)
		if err != nil && d.m.faulted && d.fault != nil {
			d.note("opened with faults on, then: %v", err)
			d.errors++
			kill(s)
			d.store = nil
			d.calm()
			continue
		}
		if err != nil {
			return fmt.Errorf("after opening (%d): %w", kind, err)
		}
		d.m, d.opening = fixed, nothingLost
		d.m.faulted = d.fault != nil || d.full
		return nil
	}
}

func (d *sim) abandon() {
	d.dropPins()
	if d.store != nil {
		kill(d.store)
		d.store = nil
	}
}

// kill ends a store as the end of its process does: nothing more is written.
func kill(s *Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.closing = true, true
	_ = s.release()
}

func (d *sim) dropPins() {
	for _, p := range d.pins {
		p.snap.Release()
	}
	d.pins = nil
}

// afterCrash goes on with the machine that the crash left.
func (d *sim) afterCrash() error {
	d.note("crash (%d)", d.kind)
	d.dropPins()
	kill(d.store)
	d.store = nil
	kind := d.kind
	d.fs, d.crashed = d.crashed, nil
	d.fs.Hook, d.fs.Fault = d.hook, d.decide
	if d.r.IntN(3) > 0 {
		d.calm()
	}
	d.tally.mu.Lock()
	d.tally.crashes++
	d.tally.mu.Unlock()
	if d.r.IntN(3) == 0 { // again, while it recovers
		d.arm()
	}
	return d.open(kind)
}

func (d *sim) arm() {
	d.crashIn = 1 + d.r.IntN(12)
	d.kind = powerLost
	if d.r.IntN(4) == 0 {
		d.kind = processKilled
	}
}

func (d *sim) calm() {
	d.fault, d.crashIn, d.full = nil, 0, false
	d.fs.SetBudget(0)
}

func (d *sim) decide(op *simfs.Op) simfs.Fault {
	// A ballast that cannot be made is nobody's error.
	if op.Kind == simfs.Write && path.Base(op.Name) == ballastName && d.openings%4 == 3 {
		return simfs.ENOSPC
	}
	if d.fault == nil || d.callers != nil && d.callers.inside.Load() {
		return simfs.None
	}
	f := d.fault(op)
	if f != simfs.None && f.Applies(op.Kind) {
		d.m.faulted = true
	}
	return f
}

// hook looks at what a crash here would leave, and lets the power go when its time has come.
func (d *sim) hook(op *simfs.Op, after bool) {
	if op.Site == "" || d.failed() != nil {
		return
	}
	d.mu.Lock()
	dead := d.crashed != nil
	d.mu.Unlock()
	if dead {
		return
	}
	if d.explore {
		d.look(op, after)
	}
	if !after {
		d.come(op)
	}
	if d.crashIn > 0 && !after && (d.callers == nil || !d.callers.inside.Load()) {
		if d.crashIn--; d.crashIn == 0 {
			var left *simfs.FS
			if d.kind == processKilled && !d.fs.Lied() {
				left = d.fs.Kill()
			} else {
				d.kind = powerLost
				left = d.fs.Crash(d.r, simfs.Mode(d.r.IntN(int(simfs.Modes))))
			}
			d.fs.Stop()
			d.mu.Lock()
			d.crashed = left
			d.mu.Unlock()
		}
	}
}

func side(op *simfs.Op, after bool) string {
	if after {
		return "after " + op.Site
	}
	return "before " + op.Site
}

const siteWanted = 100 // crashes at each side of a call site, before others are preferred

// look tries crashes at one operation, more of them where few were tried.
func (d *sim) look(op *simfs.Op, after bool) {
	place := side(op, after)
	d.tally.mu.Lock()
	n := d.tally.inside[place]
	d.tally.mu.Unlock()
	rare := 1
	if n >= siteWanted/5 {
		rare = 8
	}
	if n >= siteWanted {
		rare = 40
	}
	if d.aim > 0 {
		if rare = 1; n >= d.aim {
			return
		}
	}
	if d.states >= d.stateMax || d.hookR.IntN(rare) > 0 {
		return
	}
	seen := map[uint64]bool{}
	modes := []simfs.Mode{simfs.Mode(d.hookR.IntN(int(simfs.Modes))), simfs.Random, simfs.Adversary}
	modes = modes[:1+d.hookR.IntN(len(modes))]
	if n < max(siteWanted/5, d.aim) { // who knows whether anybody comes here again
		modes = []simfs.Mode{simfs.AllLost, simfs.AllKept, simfs.Random, simfs.Random, simfs.Prefix, simfs.Adversary, simfs.Adversary}
	}
	for _, mode := range modes {
		d.try(d.fs.Crash(d.hookR, mode), fmt.Sprintf("%s, %s, %v", place, op.Name, mode), seen, 0, powerLost)
	}
	if d.hookR.IntN(8) == 0 && !d.fs.Lied() {
		kind := processKilled
		if d.opening == powerLost && d.store == nil {
			kind = powerLost
		}
		d.try(d.fs.Kill(), place+", killed", seen, 0, kind)
	}
	if all := d.fs.Subsets(); all > 0 && all <= 64 && d.hookR.IntN(20) == 0 {
		for mask := range all {
			d.try(d.fs.Subset(mask), fmt.Sprintf("%s, subset %b", place, mask), seen, 0, powerLost)
		}
	}
	d.tally.mu.Lock()
	d.tally.inside[place] += len(seen)
	d.tally.mu.Unlock()
}

// try opens a crash state and checks all that must hold.
func (d *sim) try(fs *simfs.FS, what string, seen map[uint64]bool, depth int, kind crashKind) {
	hash := fs.StateHash() // equal states at deeper depths are those that recovery did not change
	if kind == processKilled {
		hash++
	}
	if d.failed() != nil || seen[hash] {
		return
	}
	seen[hash] = true
	d.states++
	d.tally.mu.Lock()
	d.tally.states++
	if depth > 0 {
		d.tally.nested++
	}
	d.tally.mu.Unlock()
	if err := d.check(fs, seen, what, depth, kind); err != nil {
		d.fail(fmt.Errorf("crash %s, depth %d: %w\n%s", what, depth, err, dumpFiles(fs)))
	}
}

func dumpFiles(fs *simfs.FS) string {
	var b strings.Builder
	files := fs.Files()
	for _, name := range sortedKeys(files) {
		fmt.Fprintf(&b, "  %s: %d bytes\n", name, len(files[name]))
	}
	return b.String()
}

func (d *sim) check(fs *simfs.FS, seen map[uint64]bool, what string, depth int, kind crashKind) error {
	fs.SetBudget(0)
	if depth < 3 { // crash again while it recovers
		fs.Hook = func(op *simfs.Op, after bool) {
			if op.Site != "" && d.hookR.IntN(3) == 0 {
				again := fs.Crash(d.hookR, simfs.Mode(d.hookR.IntN(int(simfs.Modes))))
				d.try(again, what+"; then "+side(op, after), seen, depth+1, powerLost)
			}
		}
	}
	if d.copies != nil && depth == 0 {
		if err := d.checkCopies(fs); err != nil {
			return err
		}
	}
	changed := 0
	var reader map[string][]int64
	if d.hookR.IntN(10) == 0 {
		var err error
		if reader, err = d.readOnly(fs); err != nil {
			return fmt.Errorf("open for reading: %w", err)
		}
	}
	s, err := Open("data/store", d.options(fs))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	fs.Hook = nil
	m, err := d.m.adopt(s, d.known, kind)
	if err == nil && reader != nil {
		err = m.compare(reader)
	}
	if err == nil {
		err = checkClean(s, true)
	}
	if err != nil {
		kill(s)
		return err
	}
	if depth == 0 && d.hookR.IntN(6) == 0 {
		err := d.live(s, m)
		kill(s)
		return err
	}
	// Opened again, everything is as it was; if nothing is lost, nothing is written.
	mode := simfs.Mode(d.hookR.IntN(2))
	again := fs.Crash(d.hookR, mode)
	kill(s)
	again.Hook = func(op *simfs.Op, after bool) {
		switch op.Kind {
		case simfs.Create, simfs.Write, simfs.Truncate, simfs.Rename, simfs.Link, simfs.Remove:
			changed++
		}
	}
	s, err = Open("data/store", d.options(again))
	if err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	defer kill(s)
	if _, err := m.adopt(s, d.known, nothingLost); err != nil {
		return fmt.Errorf("opened again: %w", err)
	}
	if changed > 0 && mode == simfs.AllKept {
		return fmt.Errorf("opened again: %d changes", changed)
	}
	return nil
}

func (d *sim) readOnly(fs *simfs.FS) (map[string][]int64, error) {
	changes := fs.TraceHash()
	opt := d.options(fs)
	opt.ReadOnly = true
	s, err := Open("data/store", opt)
	if errors.Is(err, ErrNotFound) || isNotExist(err) {
		return nil, nil // nothing was ever made here
	}
	if err != nil {
		return nil, err
	}
	defer kill(s)
	snap, err := s.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Release()
	if len(snap.Missing()) > 0 {
		return nil, fmt.Errorf("undamaged data is reported missing: %+v", snap.Missing())
	}
	got, err := simRead(snap, d.known)
	if err == nil {
		_, err = s.LastErasure()
	}
	if err == nil && fs.TraceHash() != changes {
		err = errors.New("a reader changed something")
	}
	return got, err
}

// live is promise (6): with no more faults, the store takes events, compacts
// and closes, within few steps.
func (d *sim) live(s *Store, m *simModel) error {
	m = m.clone()
	d.lives++ // nothing here touches what decides the run's own course
	e := event.Event{Customer: "c1", Name: "view", Time: event.At(d.clock), Props: []event.Prop{{Name: "n", Value: event.Integer(1e9 + d.lives)}}}
	d.known[1e9+d.lives] = &e
	b := []event.Event{e}
	ack, err := s.Append(context.Background(), batchOf(b), AppendOptions{Token: fmt.Sprint("live", d.lives)})
	if err != nil || ack.Accepted != int64(len(b)) {
		return fmt.Errorf("liveness: append %+v: %w", ack, err)
	}
	m.present = append(m.present, &simBatch{seq: 1e9, events: b, durable: true, lsn: ack.LSN})
	if err := s.Compact(context.Background()); err != nil {
		return fmt.Errorf("liveness: compact: %w", err)
	}
	for range 200 {
		worked, err := s.CompactStep(context.Background())
		erased, e := s.EraseStep(context.Background())
		if err := errors.Join(err, e); err != nil {
			return fmt.Errorf("liveness: step: %w", err)
		}
		if !worked && !erased {
			break
		}
	}
	for worked := d.ages != nil; worked; {
		var err error
		if worked, err = d.retain(s, m); err != nil {
			return fmt.Errorf("liveness: retention: %w", err)
		}
	}
	if left := s.state().erasing(); len(left) > 0 {
		return fmt.Errorf("liveness: %d erasures do not end", len(left))
	}
	snap, err := s.Snapshot()
	if err != nil {
		return err
	}
	got, err := simRead(snap, d.known)
	snap.Release()
	if err == nil {
		err = m.compare(got)
	}
	if err != nil {
		return fmt.Errorf("liveness: %w", err)
	}
	if err := checkClean(s, false); err != nil {
		return fmt.Errorf("liveness: %w", err)
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("liveness: %w", err)
	}
	return nil
}

// settle notes what has been decided meanwhile: that batches are durable, or
// will never be there.
func (d *sim) settle() {
	s := d.store
	if s == nil {
		return
	}
	for i, b := range d.m.present {
		if !b.durable && b.lsn <= s.state().lsn {
			d.durable(i)
		}
	}
	gone := func(b *simBatch) bool {
		if b.load && s.manifest.file == nil || !b.load && s.wal == nil {
			return false
		}
		d.m.never = append(d.m.never, b)
		return true
	}
	d.m.limbo = slices.DeleteFunc(d.m.limbo, gone)
	if s.manifest.file != nil {
		d.m.maybe = nil
	}
}

func (d *sim) durable(i int) {
	fixed := *d.m.present[i]
	fixed.durable = true
	d.m.present[i] = &fixed
}

// durableAll notes that everything logged, or really everything, is durable.
func (d *sim) durableAll(memory bool) {
	for i, b := range d.m.present {
		if !b.durable && (memory || b.level != Memory) {
			d.durable(i)
		}
	}
}

func (d *sim) event() event.Event {
	g := &shop{r: d.r, floats: len(d.known) > 100}
	e := g.event()
	if d.ages != nil {
		e.Time = d.ages.time()
	}
	if d.r.IntN(12) == 0 { // late, and in the future
		e.Time = event.At(d.clock).Add(event.Duration(d.r.IntN(400)-200) * event.Day)
	}
	if e.ID != "" {
		e.ID = fmt.Sprintf("id%d", d.r.IntN(5000))
	}
	return e
}

// batch makes new events.
func (d *sim) batch(n int) []event.Event {
	list := make([]event.Event, n)
	for i := range list {
		list[i] = d.number(d.event())
	}
	return list
}

// asRow is an event without id as a row of a source is sent: known by its content.
func asRow(e event.Event) event.Event {
	if e.ID == "" {
		var hash [16]byte
		binary.LittleEndian.PutUint64(hash[:], uint64(eventNumber(&e)))
		e.ID = RowID(hash, 0)
	}
	return e
}

// asRows sends some events without id as rows of a source.
func (d *sim) asRows(sent []event.Event) []event.Event {
	sent = slices.Clone(sent)
	for i := range sent {
		if sent[i].ID == "" && d.r.IntN(2) == 0 {
			sent[i] = asRow(sent[i])
		}
	}
	return sent
}

func (d *sim) number(e event.Event) event.Event {
	d.next++
	e.Props = append(slices.DeleteFunc(slices.Clone(e.Props), func(p event.Prop) bool { return p.Name == "n" }), event.Prop{Name: "n", Value: event.Integer(d.next)})
	d.known[d.next] = &e
	return e
}
