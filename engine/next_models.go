package engine

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"wend/query"
)

// nextModels are the models that `next for` keeps, by statement. Who asks once
// pays for a scan and gets no model; from the second time on one is made in the
// background, and answers once it is there.
//
// A model belongs to a snapshot. While events stream in every question has a
// newer one, so a model serves on for a while, and its answers say how old it
// is: a new one is begun modelRenew after the last, and what is older than
// modelStale is not used.
type nextModels struct {
	now   func() time.Time
	mu    sync.Mutex
	max   int64 // bytes of all of them together
	kept  map[string]*keptModel
	asked int64 // questions so far, which order the models by their use
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
func (m *nextModels) use(key, version string) (model *nextModel, age time.Duration, build bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
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
	now := m.now()
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

// put keeps a model that was made, or notes that it could not be.
func (m *nextModels) put(key, version string, made time.Time, model *nextModel) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.kept[key]
	if k == nil {
		return // forgotten meanwhile
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

// clear drops all: a customer was erased whom they counted.
func (m *nextModels) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = nil
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

// learn makes the model of a statement in the background. It takes one worker,
// and the memory of a query; if that is not there, `next for` goes on scanning.
func (db *DB) learn(plan *query.Plan, key string, s QuerySettings) {
	if db.begin() != nil {
		return
	}
	go func() {
		defer db.running.Done()
		var model *nextModel
		version, made, era := "", db.models.now(), db.eras.current()
		defer func() {
			if db.eras.over(era) {
				model = nil // it counts somebody who was erased meanwhile
			}
			db.models.put(key, version, made, model)
		}()
		snap, err := db.snapshot()
		if err != nil {
			return
		}
		defer snap.Release()
		version = snap.Version()
		statement, err := oneStatement(plan.Text)
		if err != nil {
			return
		}
		plan, err := query.Bind(statement, snap.catalog(s)) // of a state that may be newer
		if err != nil {
			return
		}
		opt := RunOptions{Workers: 1, Groups: s.Limits.Groups, MemoryBytes: s.Limits.MemoryBytes, Time: -1, shared: db.memory}
		opt.learned = func(m *nextModel) { model = m }
		if _, err := Run(db.ctx, plan, snap, opt); err != nil && db.ctx.Err() == nil && db.opt.Logger != nil {
			db.opt.Logger.Debug("next for goes on scanning: its model cannot be made", "error", err)
		}
	}()
}
