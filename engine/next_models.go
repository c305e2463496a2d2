package engine

import (
	"cmp"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"wend/internal/seeded"
	"wend/query"
)

// nextModels are the models that `next for` keeps, by statement. Who asks once
// pays for a scan and gets no model; from the second time on one is made in the
// background, and answers once it is there.
//
// A model belongs to a snapshot. While events stream in every question has a
// newer one, so a model serves on for a while, and its answers say how old it
// is: a new one is begun modelRenew after the last, and what is older than
// modelStale is not used. Where data was taken out, by an erasure or with an
// import, or two identities are no longer one, no model of before serves on: all
// of them go at once.
type nextModels struct {
	now      func() time.Time
	mu       sync.Mutex
	removals uint64 // of the state that models are of
	cleared  int    // how often all of them went
	max      int64  // bytes of all of them together
	kept     map[string]*keptModel
	asked    int64 // questions so far, which order the models by their use
}

// keptModel is a model with the state it is of.
type keptModel struct {
	model    *nextModel // nil: there is none yet
	version  string
	made     time.Time // of the snapshot, not of when the model was finished
	begun    time.Time
	building bool
	tried    string // the version for which it could not be made
	used     int64
}

const (
	modelRenew = time.Minute
	modelStale = 10 * time.Minute
	modelsMax  = 64 // statements that are remembered
)

// modelKey names what a model depends on beside the state of the store.
func modelKey(plan *query.Plan, snap Snapshot, s QuerySettings) string {
	text := strings.TrimPrefix(plan.Text, "next for ")
	text = strings.TrimPrefix(text, "'"+strings.ReplaceAll(plan.Customer, "'", "''")+"'") // as the canonical text writes it
	key := fmt.Sprint(plan.During.From, plan.During.To, " ", s.Lenient, s.Limits.Groups, " ", text)
	if plan.HasEnd {
		key += plan.End.String()
	}
	for _, d := range snap.Definitions() {
		key += "\x00" + d.Text
	}
	return key
}

// use returns the model for a question, nil if a scan has to answer, and
// whether one should be made now.
func (m *nextModels) use(key string, snap Snapshot, removals uint64) (model *nextModel, age time.Duration, build bool) {
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if removals < m.removals {
		return nil, 0, false // of before data was taken out
	}
	if removals > m.removals { // perhaps by another process
		m.clearLocked()
		m.removals = removals
	}
	version := snap.Version()
	m.asked++
	k := m.kept[key]
	if k == nil {
		if len(m.kept) >= modelsMax {
			m.forget()
		}
		if m.kept == nil {
			m.kept = map[string]*keptModel{}
		}
		m.kept[key] = &keptModel{used: m.asked}
		return nil, 0, false
	}
	k.used = m.asked
	switch {
	case k.model != nil && k.version == version:
		return k.model, 0, false
	case k.building || k.tried == version || !k.begun.IsZero() && now.Sub(k.begun) < modelRenew:
	default:
		k.building, k.begun, build = true, now, true
	}
	if k.model != nil && now.Sub(k.made) <= modelStale {
		return k.model, now.Sub(k.made), build
	}
	return nil, 0, build
}

// put keeps a model that was made, or notes that it could not be. One that was
// begun before all of them went is not kept.
func (m *nextModels) put(key string, cleared int, version string, made time.Time, model *nextModel) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.kept[key]
	if k == nil || cleared != m.cleared && !seeded.On("model_survives_removal") {
		return
	}
	if k.building = false; model == nil || model.bytes > m.max {
		k.tried = version
		return
	}
	k.model, k.version, k.made = model, version, made
	for m.bytes() > m.max {
		m.forget()
	}
}

func (m *nextModels) bytes() (n int64) {
	for _, k := range m.kept {
		if k.model != nil {
			n += k.model.bytes
		}
	}
	return n
}

// clear drops all, also those that are being made: they count what was taken out.
func (m *nextModels) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clearLocked()
}

func (m *nextModels) clearLocked() {
	m.kept = nil
	m.cleared++
}

// begin is what put wants to know of when a model was begun.
func (m *nextModels) begin() (cleared int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cleared
}

// forget drops what was not asked for the longest.
func (m *nextModels) forget() {
	oldest := ""
	for key, k := range m.kept {
		if oldest == "" || k.used < m.kept[oldest].used {
			oldest = key
		}
	}
	delete(m.kept, oldest)
}

// learn makes the model of a statement in the background. It takes half of the
// workers, and the memory of a query; if that is not there, `next for` goes on scanning.
func (db *DB) learn(plan *query.Plan, key string, s QuerySettings) {
	if db.begin() != nil {
		return
	}
	go func() {
		defer db.running.Done()
		err := shielded(func() error { return db.makeModel(plan, key, s) })
		// Questions are answered by scans, in which it may not happen.
		if bug := db.logBug("next for: its model cannot be made", err); err != nil && !bug && db.opt.Logger != nil {
			db.opt.Logger.Debug("next for goes on scanning: its model cannot be made", "error", err)
		}
	}()
}

// makeModel makes a model and keeps it, or notes that it could not be made. It
// fails with the error of the run, unless that was cancelled.
func (db *DB) makeModel(plan *query.Plan, key string, s QuerySettings) error {
	var model *nextModel
	era, cleared := db.eras.current(), db.models.begin() // before the snapshot: too early does no harm
	version, made := "", time.Time{}
	defer func() { db.models.put(key, cleared, version, made, model) }()
	snap, err := db.snapshot()
	if err != nil {
		return nil
	}
	defer snap.Release()
	version, made = snap.Version(), db.models.now()
	statement, err := oneStatement(plan.Text)
	if err != nil {
		return nil
	}
	plan, err = query.Bind(statement, snap.catalog(s)) // of a state that may be newer
	if err != nil {
		return nil
	}
	ctx, stop := mergeCancel(db.ctx, era.ctx) // nothing of somebody who was erased stays in memory
	defer stop()
	opt := RunOptions{Workers: max(1, cmp.Or(db.opt.Workers, runtime.GOMAXPROCS(0))/2), Groups: s.Limits.Groups, MemoryBytes: s.Limits.MemoryBytes, Time: -1, shared: db.memory, claim: db.turns.claim()}
	opt.learned = func(m *nextModel) { model = m }
	if _, err := Run(ctx, plan, snap, opt); ctx.Err() == nil {
		return err
	}
	return nil
}
