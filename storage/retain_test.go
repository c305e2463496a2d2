package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"wend/event"
	"wend/internal/trust"
	"wend/storage/vfs"
	"wend/storage/vfs/simfs"
)

// aging is a store with a retention and a clock that is sometimes wrong, and
// what is known of it: which events a snapshot showed last, and which it may.
type aging struct {
	t     testing.TB
	seed  uint64
	r     *rand.Rand
	fs    *simfs.FS
	s     *Store
	keep  time.Duration
	now   time.Time     // what it really is
	wrong time.Duration // how far the store's clock is from it
	up    time.Duration

	known    map[int64]*event.Event
	shown    map[int64]bool
	versions map[string]string // what was shown under a version
	owed     bool              // the store was closed for a while: what grew too old meanwhile goes a tenth an hour
	tenth    time.Time         // when events went before their time
	early    int               // how many did

	log    []string
	told   strings.Builder // the store's log
	change func(*Options)  // nil: they are the usual ones
}

func newAging(t testing.TB, seed uint64) *aging {
	a := &aging{
		t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 9)), fs: simfs.New(simfs.Strict), keep: 30 * 24 * time.Hour,
		now: time.Date(2030, 3, 10, 8, 20, 0, 0, time.UTC), known: map[int64]*event.Event{}, shown: map[int64]bool{}, versions: map[string]string{},
	}
	a.open()
	return a
}

func (a *aging) options() Options {
	if a.change != nil {
		o := a.usual()
		a.change(&o)
		return o
	}
	return a.usual()
}

func (a *aging) usual() Options {
	// Segments of a month go whole, those of a year are written anew.
	return Options{FS: a.fs, Rand: rand.New(rand.NewPCG(a.seed, 3)), Retention: a.keep, Partition: []string{widthMonth, widthYear}[a.seed%2],
		Clock: func() time.Time { return a.now.Add(a.wrong) }, Uptime: func() time.Duration { return a.up },
		MemtableEvents: 40, SegmentRows: 30, BlockCustomers: 3, CacheBytes: 1 << 20,
		Log: slog.New(slog.NewTextHandler(&a.told, nil))}
}

func (a *aging) open() {
	a.up = 0
	s, err := Open("data/store", a.options())
	a.must(err)
	a.s = s
}

func (a *aging) must(err error) {
	a.t.Helper()
	if err != nil {
		a.fail("%v", err)
	}
}

func (a *aging) fail(format string, args ...any) {
	a.t.Helper()
	a.t.Fatalf("seed %d: %s\n  %s", a.seed, fmt.Sprintf(format, args...), strings.Join(a.log, "\n  "))
}

func (a *aging) note(format string, args ...any) {
	a.log = append(a.log, a.now.Format("01-02 15:04 ")+fmt.Sprintf(format, args...))
}

// pass lets time pass.
func (a *aging) pass(d time.Duration) { a.now, a.up = a.now.Add(d), a.up+d }

// oldest is the time from which on events should live.
func (a *aging) oldest() event.Time { return event.At(a.now.Add(-a.keep)) }

// event makes an event of about this age.
func (a *aging) event(age time.Duration) event.Event {
	n := int64(len(a.known) + 1)
	e := event.Event{Customer: fmt.Sprint("c", a.r.IntN(9)), ID: fmt.Sprint("id", n), Time: event.At(a.now.Add(-age)),
		Name: []string{"view", "cart"}[a.r.IntN(2)], Props: []event.Prop{{Name: "n", Value: event.Integer(n)}}}
	a.known[n] = &e
	return e
}

// read is what a store shows.
func (a *aging) read(s *Store) map[int64]bool {
	a.t.Helper()
	snap, err := s.Snapshot()
	a.must(err)
	defer snap.Release()
	got, err := simRead(snap, a.known)
	a.must(err)
	shown := map[int64]bool{}
	for _, list := range got {
		for _, n := range list {
			shown[n] = true
		}
	}
	sum := fmt.Sprint(slices.Sorted(maps.Keys(shown)))
	if before, ok := a.versions[snap.Version()]; ok && before != sum {
		a.fail("version %s showed %s and shows %s", snap.Version(), before, sum)
	}
	a.versions[snap.Version()] = sum
	counted := int64(0)
	for _, n := range snap.Schema().Events {
		counted += n.Count
	}
	if counted != int64(len(shown)) {
		a.fail("the counts of events add up to %d, there are %d", counted, len(shown))
	}
	if from, _, ok := snap.Span(); ok != (len(shown) > 0) || ok && from < s.state().cutoff() {
		a.fail("the oldest event is of %s, and the cutoff is %s", from, s.state().cutoff())
	}
	return shown
}

// look holds what is shown against what should be: nothing comes back, nothing
// goes before its time but the brake's tenth, and nothing stays for more than an hour.
func (a *aging) look() {
	a.t.Helper()
	shown := a.read(a.s)
	early := 0
	for n := range a.shown {
		if !shown[n] && a.known[n].Time >= a.oldest() {
			early++
		}
	}
	if early > 0 {
		if early > max(len(a.shown)/10, 1) || a.now.Sub(a.tenth) < time.Hour || a.wrong < time.Hour {
			a.fail("%d of %d events are gone before their time; the last went %s before; the clock is off by %s", early, len(a.shown), a.now.Sub(a.tenth), a.wrong)
		}
		a.tenth, a.early = a.now, a.early+early
	}
	late := 0
	for n := range shown {
		if !a.shown[n] {
			a.fail("event %d came back", n)
		}
		if a.known[n].Time < a.oldest().Add(-event.Hour) {
			late++
		}
	}
	if a.s.retaining.ahead >= event.Hour {
		a.owed = true // the store was closed, or began with a clock that was wrong
	}
	if a.owed && late == 0 && a.wrong == 0 && a.s.retaining.ahead < event.Hour {
		a.owed = false
	}
	if late > 0 && !a.owed && a.wrong == 0 {
		a.fail("%d events are shown more than an hour after they should be gone", late)
	}
	a.shown = shown
}

// retain does what retention has to do.
func (a *aging) retain() {
	a.t.Helper()
	for i := 0; ; i++ {
		worked, err := a.s.RetainStep(context.Background())
		a.must(err)
		if !worked {
			break
		}
		if i > 50 {
			a.fail("retention does not come to an end")
		}
	}
	for _, r := range a.s.state().segments {
		if gone := a.s.state().cutoff().Sub(r.MinTime); gone > 30*event.Day {
			a.fail("%s holds an event that was to go %s ago", r.file(), gone)
		}
	}
	a.look()
}

// send appends events and holds the answer against what is shown.
func (a *aging) send(events []event.Event) {
	a.t.Helper()
	cutoff, latest := a.s.state().cutoff(), event.At(a.now.Add(a.wrong)).Add(48*event.Hour)
	var accepted, rejected, known int64
	ids := map[eventID]bool{}
	for n := range a.shown {
		ids[eventID{a.known[n].Customer, a.known[n].ID}] = true
	}
	var fresh []int64
	for i := range events {
		e := &events[i]
		switch id := (eventID{e.Customer, e.ID}); {
		case e.Time < cutoff || e.Time > latest:
			rejected++
		case ids[id]:
			known++
		default:
			accepted++
			ids[id] = true
			fresh = append(fresh, eventNumber(e))
		}
	}
	ack, err := a.s.Append(context.Background(), batchOf(events), AppendOptions{})
	a.must(err)
	if ack.Accepted != accepted || int64(len(ack.Rejected)) != rejected || ack.Duplicates+ack.Conflicts != known {
		a.fail("the answer is %+v, want %d accepted, %d known, %d rejected", ack, accepted, known, rejected)
	}
	for _, n := range fresh {
		a.shown[n] = true
	}
}

func (a *aging) load(events []event.Event) {
	a.t.Helper()
	cutoff := a.s.state().cutoff()
	l, err := a.s.NewLoad(context.Background(), LoadOptions{Source: "file"})
	a.must(err)
	a.must(l.Add(batchOf(events)))
	res, err := l.Commit(context.Background())
	a.must(err)
	old := 0
	for i := range events {
		if events[i].Time < cutoff {
			old++
		} else {
			a.shown[eventNumber(&events[i])] = true
		}
	}
	if int(res.Rejected) != old || res.Events != int64(len(events)-old) {
		a.fail("the load says %+v, and %d events were too old", res, old)
	}
}

// wander does something.
func (a *aging) wander() {
	a.t.Helper()
	ctx := context.Background()
	some := func() (list []event.Event) {
		for range 1 + a.r.IntN(12) {
			age := time.Duration(a.r.Int64N(int64(a.keep))) // spread over the time that is kept
			if a.r.IntN(6) == 0 {
				age += a.keep / 2 // late, perhaps too late
			}
			list = append(list, a.event(age))
		}
		return list
	}
	op := a.r.IntN(12)
	a.note("op %d", op)
	switch op {
	case 0, 1, 2:
		a.send(some())
	case 3:
		a.load(some())
	case 4:
		var again []event.Event
		for _, n := range slices.Sorted(maps.Keys(a.known)) {
			if a.r.IntN(20) == 0 {
				again = append(again, *a.known[n]) // gone or not
			}
		}
		for i := range again { // an id that is gone may come again, with another time
			if again[i].Time < a.oldest() && a.r.IntN(2) == 0 {
				id, who := again[i].ID, again[i].Customer
				again[i] = a.event(time.Hour)
				again[i].ID, again[i].Customer = id, who
				e := again[i]
				a.known[eventNumber(&e)] = &e
			}
		}
		if len(again) > 0 {
			a.send(again)
		}
	case 5:
		a.must(a.s.Flush(ctx))
	case 6:
		a.must(a.s.Compact(ctx))
	case 7:
		who := fmt.Sprint("c", a.r.IntN(9))
		_, err := a.s.Erase(ctx, who, EraseOptions{})
		a.must(err)
		for n := range a.shown {
			if a.known[n].Customer == who {
				delete(a.shown, n)
			}
		}
		for worked := true; worked && a.r.IntN(4) > 0; {
			worked, err = a.s.EraseStep(ctx)
			a.must(err)
		}
	case 8: // the clock goes wrong, or right again
		if a.wrong != 0 {
			a.wrong = 0
		} else {
			a.wrong = time.Duration(a.r.Int64N(int64(20*365*24*time.Hour))) - 10*365*24*time.Hour
		}
		a.note("the clock is off by %s", a.wrong)
	case 9: // the machine stops, and after a while there is another
		down := time.Duration(a.r.Int64N(int64(72 * time.Hour)))
		a.note("down for %s, the clock off by %s", down, a.wrong)
		kill(a.s)
		a.fs = a.fs.Crash(a.r, simfs.Mode(a.r.IntN(int(simfs.Modes))))
		a.now = a.now.Add(down)
		a.owed = true
		a.open()
	}
	a.look0()
	a.pass(time.Duration(a.r.Int64N(int64(50 * time.Minute))))
	if a.wrong == 0 || a.r.IntN(2) == 0 {
		a.retain()
	}
}

// look0 says that nothing but retention changed what is shown.
func (a *aging) look0() {
	a.t.Helper()
	if shown := a.read(a.s); !maps.Equal(shown, a.shown) {
		for n := range a.known {
			if shown[n] != a.shown[n] {
				a.note("event %d, shown %v: %+v", n, shown[n], *a.known[n])
			}
		}
		a.fail("without a step of retention %d events are shown, and there were %d; the cutoff is %s", len(shown), len(a.shown), a.s.state().cutoff())
	}
}

func agingRun(t testing.TB, seed uint64) *aging {
	a := newAging(t, seed)
	defer func() { kill(a.s) }()
	a.retain() // it begins with a clock that is right: later ones are held against it
	for range 60 {
		a.wander()
	}
	// With a clock that is right, all that is too old goes.
	a.wrong = 0
	for hours := 0; a.owed; hours++ {
		a.pass(time.Hour)
		a.retain()
		if hours > 24*5 {
			a.fail("after %d hours events are shown that should be gone: %d, the trusted time lies %s behind, %+v, cutoff %s, oldest %s", hours, len(a.shown), a.s.retaining.ahead, a.s.retaining, a.s.state().cutoff(), a.oldest())
		}
	}
	a.must(a.s.Compact(context.Background()))
	a.look0()
	return a
}

// TestRetentionSchedules is promise P11: whatever becomes of clock and machine,
// nothing is lost that should live, but for a tenth an hour where the clock was
// wrong when the store was opened; and nothing stays for more than an hour.
func TestRetentionSchedules(t *testing.T) {
	seed, schedules := trust.Number("WEND_SEED", 1), trust.Number("WEND_SCHEDULES", 100)
	if testing.Short() {
		schedules = min(schedules, 20)
	}
	early, events := 0, 0
	for i := range schedules {
		a := agingRun(t, seed+i)
		early, events = early+a.early, events+len(a.known)
	}
	trust.Report(t, "P11", "schedules", schedules, "events", events, "lost", 0, "late", 0, "gone early by the tenth an hour", early, "seed", seed)
}

// Whatever file operation of a step the power fails at: what is opened then
// shows what was shown before the step or after it, and what is gone stays gone.
func TestRetentionCrashes(t *testing.T) {
	t.Parallel() // beside TestEraseCrashes: stores of one process are independent
	states, seeds := 0, uint64(6)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		states += agingCrashes(t, 50+seed)
	}
	trust.Report(t, "P11", "crashes of a step, states", states, "violations", 0)
}

func agingCrashes(t testing.TB, seed uint64) (states int) {
	a := newAging(t, seed)
	defer func() { kill(a.s) }()
	ctx := context.Background()
	for i := range 8 {
		var events []event.Event
		for range 12 {
			events = append(events, a.event(time.Duration(a.r.Int64N(int64(a.keep)))))
		}
		a.send(events)
		if i == 5 {
			a.must(a.s.Flush(ctx))
		}
	}
	for range 12 {
		a.pass(40 * time.Hour)
		before := maps.Clone(a.shown)
		a.fs.Hook = func(op *simfs.Op, after bool) {
			if op.Site == "" || !op.Kind.Mutates() {
				return
			}
			states++
			there := *a
			there.fs = a.fs.Crash(a.r, simfs.Mode(a.r.IntN(int(simfs.Modes))))
			up := a.up
			there.open()
			defer func() { kill(there.s) }()
			a.up = up
			shown := there.read(there.s)
			for n := range before {
				if !shown[n] && a.known[n].Time >= a.oldest() {
					there.fail("after a crash at %s of %s event %d is gone before its time", op.Site, op.Name, n)
				}
			}
			for n := range shown {
				if !before[n] {
					there.fail("after a crash at %s of %s event %d came back", op.Site, op.Name, n)
				}
			}
			if err := checkClean(there.s, true); err != nil {
				there.fail("after a crash at %s of %s: %v", op.Site, op.Name, err)
			}
		}
		a.retain()
		a.fs.Hook = nil
	}
	return states
}

// A clock that jumps to 2099 takes a tenth of the events an hour, if it was
// wrong when the store was opened, and none for a day if it was seen to jump.
func TestRetentionBrake(t *testing.T) {
	for _, c := range []struct {
		name   string
		reopen bool
		left   []int // of 100 events, after each hour
	}{
		{"seen", false, []int{100, 100, 100}},
		{"when the store is opened", true, []int{90, 81, 73}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAging(t, 1)
			defer func() { kill(a.s) }()
			for i := range 100 {
				a.send([]event.Event{a.event(time.Duration(i) * time.Hour)})
			}
			a.retain()
			a.wrong = 69 * 365 * 24 * time.Hour
			if c.reopen {
				a.must(a.s.Close())
				a.open()
			}
			for hour, want := range c.left {
				a.retain()
				if len(a.shown) != want {
					t.Errorf("after %d hours there are %d events, want %d", hour, len(a.shown), want)
				}
				a.pass(time.Hour)
			}
			a.wrong = 0
			a.send([]event.Event{a.event(29 * 24 * time.Hour)}) // it was not taken for too old
		})
	}
}

// retainAll does all that retention asks for now.
func retainAll(t *testing.T, s *Store) {
	t.Helper()
	for worked := true; worked; {
		var err error
		if worked, err = s.RetainStep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// The brake follows the clock also over an instant at which there is more than a
// tenth of the events, as with times that are dates: when tenths enough have passed.
func TestRetentionBrakeOverDates(t *testing.T) {
	now, up := time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC), time.Duration(0)
	opt := small(vfs.NewMem())
	opt.Clock, opt.Uptime = func() time.Time { return now }, func() time.Duration { return up }
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	var list []event.Event
	for i := range 100 {
		list = append(list, event.Event{Customer: fmt.Sprint(i), Name: "view", Time: event.At(time.Date(2024, 12, 20+i%4, 0, 0, 0, 0, time.UTC))})
	}
	list = append(list, event.Event{Customer: "new", Name: "view", Time: event.At(time.Date(2024, 12, 31, 0, 0, 0, 0, time.UTC))})
	loadEvents(t, s, list...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(27 * 24 * time.Hour) // all but one are too old
	opt.Retention = 30 * 24 * time.Hour
	if s, err = Open("store", opt); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var left []int64
	for range 11 { // a quarter is more than two tenths of 101, a third than three of 76, ...
		retainAll(t, s)
		left = append(left, s.Summary().Events)
		now, up = now.Add(time.Hour), up+time.Hour
	}
	if want := []int64{101, 101, 76, 76, 76, 76, 51, 51, 51, 51, 51}; !slices.Equal(left, want) {
		t.Errorf("hour by hour %v events are left, want %v", left, want)
	}
}

// A clock that was wrong while a store was empty does not have all later events
// be too old when it is set right.
func TestRetentionFromAWrongClock(t *testing.T) {
	right := time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC)
	now, up := right.AddDate(6, 0, 0), time.Duration(0)
	opt := small(vfs.NewMem())
	opt.Retention = 30 * 24 * time.Hour
	opt.Clock, opt.Uptime = func() time.Time { return now }, func() time.Duration { return up }
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	retainAll(t, s)
	appendEvents(t, s, AppendOptions{}, event.Event{Customer: "a", Name: "boot", Time: event.At(now)})
	now, up = right, up+time.Hour
	retainAll(t, s)
	appendEvents(t, s, AppendOptions{}, event.Event{Customer: "b", Name: "view", Time: event.At(now)})
	if n := s.Summary().Events; n != 2 {
		t.Errorf("%d events are stored", n)
	}
}

// Where the disk is full, the ballast's room serves retention in the step that
// finds it so, also where the clock is followed by a tenth an hour.
func TestRetentionOnAFullDisk(t *testing.T) {
	a := newAging(t, 1)
	defer func() { kill(a.s) }()
	for i := range 100 {
		a.send([]event.Event{a.event(time.Duration(i) * time.Hour)})
	}
	a.retain()
	a.must(a.s.Close())
	a.change = func(o *Options) { o.BallastBytes = 1 << 20 }
	a.fs.SetBudget(a.fs.Used() + 1<<20)
	a.wrong = 69 * 365 * 24 * time.Hour
	a.open()
	before := a.s.state().cutoff()
	a.fs.SetBudget(a.fs.Used() + 10)
	if worked, err := a.s.RetainStep(t.Context()); err != nil || !worked || a.s.state().cutoff() <= before {
		t.Errorf("%v, %v: the cutoff went from %s to %s", worked, err, before, a.s.state().cutoff())
	}
}

// A clock that is wrong for a moment does not hide what a load into an empty
// store brings.
func TestRetentionDuringALoad(t *testing.T) {
	now, up := time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC), time.Duration(0)
	opt := small(vfs.NewMem())
	opt.Retention = 30 * 24 * time.Hour
	opt.Clock, opt.Uptime = func() time.Time { return now }, func() time.Duration { return up }
	s, err := Open("store", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	retainAll(t, s)
	l, err := s.NewLoad(t.Context(), LoadOptions{Source: "test.csv"})
	if err == nil {
		now = now.AddDate(10, 0, 0)
		retainAll(t, s)
		err = l.Add(batchOf([]event.Event{view("ann", 0), view("bob", 1)}))
	}
	if err != nil {
		t.Fatal(err)
	}
	res, err := l.Commit(t.Context())
	now = now.AddDate(-10, 0, 0)
	for range 5 {
		up, now = up+time.Hour, now.Add(time.Hour)
		retainAll(t, s)
	}
	if got := contents(t, s); err != nil || res.Events != 2 || strings.Count(got, "\n") != 2 {
		t.Errorf("%+v, %v; then there is\n%s", res, err, got)
	}
	if _, err := s.Erase(t.Context(), "ann", EraseOptions{}); err != nil || s.loads != 0 {
		t.Errorf("%d loads are not over; %v", s.loads, err)
	}
}

// The id of an event that is gone comes again, and stays after a crash although
// a segment still holds the old one: by retention, and by an erasure.
func TestGoneIdsStayAfterACrash(t *testing.T) {
	ctx := t.Context()
	for _, erased := range []bool{false, true} {
		a := newAging(t, 4)
		old, young := a.event(a.keep-2*time.Hour), a.event(time.Hour)
		young.Customer = old.Customer
		a.send([]event.Event{old, young, a.event(a.keep - 200*time.Hour), a.event(a.keep - 210*time.Hour)}) // of one month with the old one
		a.must(a.s.Flush(ctx))
		if erased {
			_, err := a.s.Erase(ctx, old.Customer, EraseOptions{})
			a.must(err)
		} else {
			a.pass(4 * time.Hour)
			a.retain()
		}
		again := a.event(time.Hour)
		again.Customer, again.ID = old.Customer, old.ID
		ack, err := a.s.Append(ctx, batchOf([]event.Event{again}), AppendOptions{})
		a.must(err)
		a.known[eventNumber(&again)] = &again
		before := a.read(a.s)
		kill(a.s)
		a.fs = a.fs.Crash(a.r, simfs.AllLost)
		a.open()
		if got := a.read(a.s); ack.Accepted != 1 || !maps.Equal(got, before) {
			t.Errorf("erased %v: %+v was acknowledged, and after a crash %v are there, not %v", erased, ack, got, before)
		}
		kill(a.s)
	}
}

// A segment that was set aside comes back when a sound copy is there, and what
// grew too old of it meanwhile does not. A longer retention waits for the segment.
func TestRetentionHidesWhatIsPutBack(t *testing.T) {
	for _, longer := range []bool{false, true} {
		a := newAging(t, 5)
		defer func() { kill(a.s) }()
		a.send([]event.Event{a.event(a.keep - time.Hour), a.event(a.keep - 200*time.Hour), a.event(a.keep - 201*time.Hour), a.event(a.keep - 202*time.Hour)})
		a.retain()
		a.must(a.s.Close())
		name := ""
		for file := range a.fs.Files() {
			if strings.HasSuffix(file, ".seg") {
				name = file
			}
		}
		sound := a.fs.Files()[name]
		a.must(a.fs.Put(name, sound[:20]))
		a.open()
		a.shown = map[int64]bool{}
		a.retain()
		a.pass(4 * time.Hour)
		a.retain()
		a.must(a.s.Close())
		if longer {
			a.keep += 15 * 24 * time.Hour
			a.open()
			a.send([]event.Event{a.event(0)})
			if a.retain(); a.s.mem.rows != 1 {
				t.Error("while a longer retention waits, each step flushes")
			}
			a.retain()
			file := path.Base(name)
			if waits := a.s.Summary().Retention.WaitsFor; !slices.Equal(waits, []string{file}) || strings.Count(a.told.String(), "a longer retention waits") != 1 {
				t.Errorf("the retention waits for %v, want %s; the log says\n%s", waits, file, a.told.String())
			}
			a.must(a.s.Close())
		}
		a.must(a.fs.Put(name, sound))
		a.open()
		a.shown = map[int64]bool{2: true, 3: true, 4: true}
		if longer {
			a.shown[5] = true
		}
		if got := a.read(a.s); !maps.Equal(got, a.shown) || len(a.s.missingData()) > 0 {
			t.Errorf("longer %v: put back, there are %v; missing %v", longer, got, a.s.missingData())
		}
		a.retain()
		if waits := a.s.Summary().Retention.WaitsFor; len(waits) > 0 {
			t.Errorf("the retention waits for %v, which is put back", waits)
		}
		before := len(a.shown)
		if a.send([]event.Event{a.event(40 * 24 * time.Hour)}); len(a.shown) != before != longer {
			t.Errorf("longer %v: then an event of 40 days comes, and there are %v", longer, a.shown)
		}
	}
}

// newWideAging keeps 68 days, and has an event of each of their hours in a
// segment that covers a year. It returns them, too.
func newWideAging(t *testing.T) (*aging, []event.Event) {
	t.Helper()
	a := newAging(t, 7)
	a.must(a.s.Close())
	a.keep = 68 * 24 * time.Hour
	a.open()
	var events []event.Event
	for i := range 68 * 24 {
		events = append(events, a.event(time.Duration(i)*time.Hour))
	}
	a.load(events)
	return a, events
}

// Of a segment that covers a year, what is too old stays in the file for a month
// and no longer, however much of it still lives; and it is not written anew for
// every hour that the cutoff moves.
func TestRetentionOfWideSegments(t *testing.T) {
	a, _ := newWideAging(t)
	defer func() { kill(a.s) }()
	number := a.s.next
	for day := range 29 {
		a.retain()
		if a.s.next != number {
			t.Fatalf("on day %d files were written", day)
		}
		a.pass(24 * time.Hour)
	}
	a.pass(3 * 24 * time.Hour)
	a.retain()
	for _, r := range a.s.state().segments {
		if r.MinTime < a.s.state().cutoff() {
			t.Errorf("%s begins at %s, the cutoff is %s", r.file(), r.MinTime, a.s.state().cutoff())
		}
	}
}

// An opening knows what of a segment is too old without reading it: here it
// would find damage.
func TestRetentionOpensUnread(t *testing.T) {
	a, events := newWideAging(t)
	told := func() string {
		snap, err := a.s.Snapshot()
		a.must(err)
		defer snap.Release()
		from, to, _ := snap.Span()
		return fmt.Sprint(snap.Events(), snap.Version(), snap.Schema().Events, from, to, a.s.Imports(), len(a.s.Summary().Missing))
	}
	all := told()
	a.pass(10 * 24 * time.Hour)
	a.retain()
	want := told()
	if want == all {
		t.Fatal("nothing became too old")
	}
	var damaged string
	for _, r := range a.s.state().segments {
		if r.MinTime < a.s.state().cutoff() {
			damaged = "data/store/" + r.file()
		}
	}
	a.must(a.s.Close())
	a.must(a.fs.Edit(damaged, func(data []byte) []byte {
		data[headerSize] ^= 1 // in a page of the first block
		return data
	}))
	defer func() { kill(a.s) }()
	a.open()
	if got := told(); got != want {
		t.Errorf("after opening\n%s\nbefore\n%s", got, want)
	}
	if report, err := a.s.Check(t.Context()); err != nil || len(report.Damaged) == 0 {
		t.Errorf("nothing is damaged: %v", err)
	}

	// Who is erased is not counted twice.
	a.must(a.fs.Edit(damaged, func(data []byte) []byte {
		data[headerSize] ^= 1
		return data
	}))
	kill(a.s)
	a.open()
	_, err := a.s.Erase(t.Context(), events[len(events)-1].Customer, EraseOptions{})
	a.must(err)
	want = told()
	kill(a.s)
	a.open()
	if got := told(); got != want {
		t.Errorf("after an erasure was asked for, and opening\n%s\nbefore\n%s", got, want)
	}
}

// A longer retention takes effect, and brings nothing back.
func TestRetentionLengthened(t *testing.T) {
	a := newAging(t, 2)
	defer func() { kill(a.s) }()
	var events []event.Event
	for i := range 100 {
		events = append(events, a.event(time.Duration(i)*12*time.Hour))
	}
	a.send(events)
	a.must(a.s.Flush(t.Context()))
	a.retain()
	if len(a.shown) != 61 {
		t.Fatalf("%d events of 30 days are left", len(a.shown))
	}
	a.send([]event.Event{a.event(40 * 24 * time.Hour)})
	if len(a.shown) != 61 {
		t.Fatal("an event of before the cutoff was taken")
	}
	a.must(a.s.Close())
	a.keep = 45 * 24 * time.Hour
	a.open()
	a.retain()
	if len(a.shown) != 61 {
		t.Errorf("%d events are shown, and 61 were left", len(a.shown))
	}
	a.send([]event.Event{a.event(40 * 24 * time.Hour)})
	if len(a.shown) != 62 {
		t.Error("an event of 40 days is refused")
	}
	st := a.s.Summary()
	if st.Retention.For != "45d" || st.Retention.Dropped != 39 || st.Retention.Total != 39 {
		t.Errorf("%+v", st.Retention)
	}
}

// A reader sees the cutoff that the writer published, whatever its own clock says.
func TestRetentionOfReaders(t *testing.T) {
	a := newAging(t, 3)
	defer func() { kill(a.s) }()
	for i := range 100 {
		a.send([]event.Event{a.event(time.Duration(i) * 12 * time.Hour)})
	}
	a.must(a.s.Flush(t.Context()))
	opt := a.options()
	opt.ReadOnly, opt.Clock = true, func() time.Time { return a.now.AddDate(50, 0, 0) }
	reader, err := Open("data/store", opt)
	a.must(err)
	defer kill(reader)
	if n := len(a.read(reader)); n != 100 {
		t.Errorf("a reader shows %d events before the writer's step", n)
	}
	pinned, err := a.s.Snapshot()
	a.must(err)
	defer pinned.Release()
	a.retain()
	a.must(reader.Refresh())
	if got := a.read(reader); !maps.Equal(got, a.shown) {
		t.Errorf("a reader shows %d events, the writer %d", len(got), len(a.shown))
	}
	if got, err := simRead(pinned, a.known); err != nil || pinned.Events() != 100 || len(got) != 9 {
		t.Errorf("a snapshot of before shows %d events, %v", pinned.Events(), err)
	}
}

func TestRetentionNeedsTheFormat(t *testing.T) {
	fs := simfs.New(simfs.Strict)
	s, err := Open("data/store", Options{FS: fs, Format: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("data/store", Options{FS: fs, Retention: time.Hour}); !errors.Is(err, ErrOldFormat) || !strings.Contains(err.Error(), "wend upgrade") {
		t.Errorf("%v", err)
	}
}
