package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"sync"
	"testing"

	"wend/internal/trust"
	"wend/storage/vfs/simfs"
)

// lostOnce is a store without a manifest: customers were erased, segments that
// were removed are back, one that was set aside is in the folder quarantine.
var lostOnce = sync.OnceValue(func() *past {
	p := newPast(nil, 1)
	name := p.manifest()
	for _, file := range []string{name, name + copySuffix} {
		if err := p.fs.Edit(file, func(b []byte) []byte { b[manifestHeader+editHeader] ^= 1; return b }); err != nil {
			panic(err)
		}
	}
	dir := path.Join("data/store", quarantineDir)
	if err := errors.Join(p.fs.MkdirAll(dir), p.fs.Put(path.Join(dir, "000001.wal"), []byte("damaged"))); err != nil {
		panic(err)
	}
	for file, data := range p.files {
		if err := p.fs.Put(file, data); err != nil {
			panic(err)
		}
	}
	p.fs = p.fs.Kill()
	return p
})

// repairStory repairs a store while the disk fails: it is repaired, or it can
// be when the disk works again.
func repairStory(t *testing.T, plan faultPlan) (fired bool, err error) {
	p := lostOnce().copyOf(t)
	w := planned{faultPlan: plan, reads: map[string]int{}}
	errs := 0
	opt := p.options()
	opt.Log = w.logger()
	p.fs.Fault = w.decide
	for _, how := range []RepairOptions{{}, {Write: true}} {
		if _, err := Repair(t.Context(), "data/store", opt, how); err != nil {
			errs++
		}
	}
	p.fs.Fault = nil
	if err := w.untold(errs); err != nil {
		return w.fired, err
	}
	if err := p.repairedAtLast(); err != nil {
		return w.fired, fmt.Errorf("%s: %w", w.hit, err)
	}
	return w.fired, nil
}

// repairedAtLast opens a store that a repair may have come to the end with, or
// repairs it.
func (p *past) repairedAtLast() error {
	done, err := Repair(p.t.Context(), "data/store", p.options(), RepairOptions{Write: true})
	if err != nil {
		return err
	}
	s, err := Open("data/store", p.options())
	if err != nil {
		return err
	}
	defer func() { kill(s) }()
	if done.Sound { // what was told then is not told again
		plan, err := Repair(p.t.Context(), "data/store", lostOnce().options(), RepairOptions{})
		if err != nil {
			return err
		}
		done = plan
	}
	return p.fits(s, done)
}

// TestRepairCrashes loses the power before and after every file operation of a
// repair. What is left opens, or is repaired again; and what opens is whole, and
// has none of those who were erased.
func TestRepairCrashes(t *testing.T) {
	p := lostOnce().copyOf(t)
	states := 0
	tries := 6
	if testing.Short() {
		tries = 2
	}
	r := rand.New(rand.NewPCG(trust.Number("WEND_SEED", 1), 31))
	var failed error
	p.fs.Hook = func(op *simfs.Op, after bool) {
		if op.Site == "" || failed != nil || !op.Kind.Mutates() {
			return
		}
		for range tries {
			states++
			left := *p
			left.fs = p.fs.Crash(r, simfs.Mode(r.IntN(int(simfs.Modes))))
			if err := left.repairedAtLast(); err != nil {
				failed = fmt.Errorf("%s %s: %w", side(op, after), op.Name, err)
				return
			}
		}
	}
	_, err := Repair(t.Context(), "data/store", p.options(), RepairOptions{Write: true})
	p.fs.Hook = nil
	if err != nil || failed != nil {
		t.Fatalf("%v; %v", err, failed)
	}
	if states < 50 {
		t.Errorf("only %d states were tried", states)
	}
	trust.Report(t, "P6", "crashes of a repair, states", states, "violations", 0)
}
