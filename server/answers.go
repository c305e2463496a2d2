package server

import (
	"bytes"
	"context"
	"errors"
	"sync"
)

// answersBytesMax bounds the written answers that are kept, answerBytesMax one of them.
const (
	answersBytesMax = 32 << 20
	answerBytesMax  = answersBytesMax / 8
)

// answers keeps what was written for repeated queries of one state of the
// store, ready to be sent: a dashboard asks the same until the data changes.
// Only answers that engine had cached come here, so nothing is kept that may
// not be given twice.
type answers struct {
	mu      sync.Mutex
	version string          // of the store; what belongs to another is never asked for again
	era     context.Context // of what is kept; nil: nothing is
	bytes   int
	kept    map[answerKey]*answer
}

// answerKey is a request as it was sent.
type answerKey struct {
	query, params, format string
	lenient               bool
}

type answer struct {
	body       []byte
	tag, media string          // tag: empty of an answer that is not repeatable
	era        context.Context // at its end nobody goes on sending it
}

// errNotKept says that an answer is larger than one that is kept.
var errNotKept = errors.New("the answer is too large to be kept")

// keptBody takes an answer that is to be kept. Rows may be far longer written
// than they were counted: NDJSON repeats the columns' names in each.
type keptBody struct{ text bytes.Buffer }

// Write fails with errNotKept beyond answerBytesMax.
func (b *keptBody) Write(p []byte) (int, error) {
	if b.text.Len()+len(p) > answerBytesMax {
		return 0, errNotKept
	}
	return b.text.Write(p)
}

func (a *answers) get(version string, key answerKey) *answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.version != version {
		return nil
	}
	return a.kept[key]
}

// put keeps an answer. Where there is no room for it, all others go.
func (a *answers) put(version string, key answerKey, x *answer) {
	size := len(x.body) + len(key.query) + len(key.params) + 200
	if size > answerBytesMax {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.version != version || a.bytes+size > answersBytesMax || a.kept == nil || a.era != x.era {
		a.version, a.bytes, a.kept = version, 0, map[answerKey]*answer{}
	}
	if a.era != x.era {
		a.era = x.era
		context.AfterFunc(x.era, func() { a.forget(x.era) })
	}
	if a.kept[key] == nil {
		a.bytes += size
	}
	a.kept[key] = x
}

// forget drops what is kept of an era.
func (a *answers) forget(era context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.era == era {
		a.version, a.bytes, a.kept, a.era = "", 0, nil, nil
	}
}
