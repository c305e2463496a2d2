package storage

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"wend/event"
)

// Answers to batch tokens are kept for a week, and longer while they are few;
// the oldest leave early where they take more than tokensBytes. That has room
// for tokensMost of the longest tokens that a server takes, and leaves the
// manifest, which holds them all in one edit, well below editMost.
const (
	tokensKept  = 7 * event.Day
	tokensMost  = 1_000_000
	tokensBytes = 512 << 20
)

// A run takes no more than this, so that merging them stays cheap and the
// oldest answers leave in small parts.
const (
	tokenRunMost  = 1 << 16
	tokenRunBytes = tokensBytes / 16
)

// TokenMax is how many bytes the token of a batch may have: it is kept for days.
const TokenMax = 256

// CheckToken says what is wrong with the token of a batch, if anything is: it
// is valid UTF-8 of at most TokenMax bytes, and does not begin like the hashes
// that erasures leave of tokens.
func CheckToken(token string) error {
	if len(token) > TokenMax {
		return fmt.Errorf("the batch token has %d bytes, the limit is %d", len(token), TokenMax)
	}
	if !utf8.ValidString(token) {
		return fmt.Errorf("the batch token %q is not valid UTF-8", token)
	}
	if strings.HasPrefix(token, keyedToken) {
		return fmt.Errorf("the batch token %q begins with %q, which the store keeps for itself; choose another", token, keyedToken)
	}
	return nil
}

// tokenRuns are the answers that batch tokens were given, those of the oldest
// batches first. A run never changes: the states of a store share them. With
// the small ones at the end merged as they come, as a log-structured tree
// does, there are a few more runs than tokenRunMost fits into the tokens.
type tokenRuns []*tokenRun

// tokenRun has its tokens one behind the other in the order of their keys,
// encoded: there may be millions, and a map of them takes six times as much.
type tokenRun struct {
	data   []byte
	starts []uint32 // where in data each begins
	newest event.Time
	size   int64 // of the records, see tokenRecord.size
}

func (t tokenRuns) len() int {
	n := 0
	for _, run := range t {
		n += len(run.starts)
	}
	return n
}

// size is about how many bytes the tokens take with their answers in the manifest.
func (t tokenRuns) size() int64 {
	n := int64(0)
	for _, run := range t {
		n += run.size
	}
	return n
}

// get finds a token by its key.
func (t tokenRuns) get(key string) (tokenRecord, bool) {
	for _, run := range slices.Backward(t) {
		i, found := slices.BinarySearchFunc(run.starts, key, func(start uint32, key string) int {
			return cmp.Compare(string(keyAt(run.data[start:])), key)
		})
		if found {
			return run.at(i), true
		}
	}
	return tokenRecord{}, false
}

// all are the tokens, those of the oldest batches first as far as runs tell.
func (t tokenRuns) all() iter.Seq[tokenRecord] {
	return func(yield func(tokenRecord) bool) {
		for _, run := range t {
			for i := range run.starts {
				if !yield(run.at(i)) {
					return
				}
			}
		}
	}
}

// changed returns the runs with every token replaced by what change makes of it,
// in a store of a format.
func (t tokenRuns) changed(change func(tokenRecord) tokenRecord, format int) tokenRuns {
	var changed tokenRuns
	for _, run := range t {
		list := make([]tokenRecord, len(run.starts))
		for i := range list {
			list[i] = change(run.at(i))
		}
		changed = append(changed, newTokenRun(list, format))
	}
	return changed
}

// with returns the runs with further tokens, none of which they have, in a store
// of a format.
func (t tokenRuns) with(list []tokenRecord, format int) tokenRuns {
	if len(list) == 0 {
		return t
	}
	t, list = slices.Clone(t), slices.Clone(list)
	for i := range list {
		list[i].Ack = list[i].Ack.packed()
	}
	slices.SortFunc(list, func(a, b tokenRecord) int { return cmp.Compare(a.Ack.LSN, b.Ack.LSN) })
	for list := range tokenChunks(list, format) {
		run := newTokenRun(list, format)
		for len(t) > 0 && t[len(t)-1].merges(run) {
			run = mergeTokenRuns(t[len(t)-1], run)
			t = t[:len(t)-1]
		}
		t = append(t, run)
	}
	return t
}

// within returns the runs without the oldest ones: those by which they take
// more than some bytes, and those older than a week if the others are not few.
func (t tokenRuns) within(few int, bytes int64) tokenRuns {
	newest := event.Time(math.MinInt64)
	for _, run := range t {
		newest = max(newest, run.newest)
	}
	for len(t) > 1 && (t.size() > bytes || t.len()-len(t[0].starts) >= few && t[0].newest < newest.Add(-tokensKept)) {
		t = t[1:]
	}
	return t
}

// merges reports whether a younger run is to be merged into run: it is as
// large, nearly, and both fit into one.
func (run *tokenRun) merges(younger *tokenRun) bool {
	n, m := len(run.starts), len(younger.starts)
	return n < 2*m && n+m <= tokenRunMost && run.size+younger.size <= tokenRunBytes
}

// tokenChunks cuts a list into parts of which each fits into a run.
func tokenChunks(list []tokenRecord, format int) iter.Seq[[]tokenRecord] {
	return func(yield func([]tokenRecord) bool) {
		for len(list) > 0 {
			n, size := 0, int64(0)
			for n < min(len(list), tokenRunMost) && (n == 0 || size+list[n].size(format) <= tokenRunBytes) {
				size += list[n].size(format)
				n++
			}
			if !yield(list[:n]) {
				return
			}
			list = list[n:]
		}
	}
}

func newTokenRun(list []tokenRecord, format int) *tokenRun {
	slices.SortFunc(list, tokenRecord.compare)
	run := &tokenRun{newest: list[0].At}
	for _, t := range list {
		run.starts = append(run.starts, uint32(len(run.data)))
		run.data = t.appendTo(run.data)
		run.newest = max(run.newest, t.At)
		run.size += t.size(format)
	}
	run.data, run.starts = slices.Clip(run.data), slices.Clip(run.starts)
	return run
}

func mergeTokenRuns(a, b *tokenRun) *tokenRun {
	run := &tokenRun{
		data:   make([]byte, 0, len(a.data)+len(b.data)),
		starts: make([]uint32, 0, len(a.starts)+len(b.starts)),
		newest: max(a.newest, b.newest),
		size:   a.size + b.size,
	}
	for i, j := 0, 0; i < len(a.starts) || j < len(b.starts); {
		from, k := a, &i
		if i == len(a.starts) || j < len(b.starts) && string(keyAt(b.record(j))) < string(keyAt(a.record(i))) {
			from, k = b, &j
		}
		run.starts = append(run.starts, uint32(len(run.data)))
		run.data = append(run.data, from.record(*k)...)
		*k++
	}
	return run
}

// record is the bytes of one token.
func (run *tokenRun) record(i int) []byte {
	if i+1 < len(run.starts) {
		return run.data[run.starts[i]:run.starts[i+1]]
	}
	return run.data[run.starts[i]:]
}

func (run *tokenRun) at(i int) tokenRecord {
	d := newDecoder(run.record(i))
	t := tokenRecord{Token: strings.Clone(d.string()), At: event.Time(d.varint())}
	if rest, keyed := strings.CutPrefix(t.Token, keyedToken); keyed {
		t.Token, t.Keyed = rest, true
	}
	if text := d.string(); text != "" {
		if err := json.Unmarshal([]byte(text), &t.Ack); err != nil {
			panic(fmt.Sprintf("storage: the answer of a token, as it was encoded: %v", err))
		}
		return t
	}
	t.Ack.Accepted, t.Ack.Duplicates, t.Ack.Conflicts, t.Ack.Suppressed = d.varint(), d.varint(), d.varint(), d.varint()
	t.Ack.LSN, t.Ack.Durability = d.uvarint(), Durability(d.uvarint())
	return t
}

// appendTo encodes a token: its key, when the batch came, and the numbers of
// the answer; one that rejects something stands there as JSON.
func (t tokenRecord) appendTo(dst []byte) []byte {
	dst = appendText(dst, t.key())
	dst = binary.AppendVarint(dst, int64(t.At))
	a := t.Ack
	if len(a.Reasons)+len(a.Rejected) > 0 {
		text, err := json.Marshal(a)
		if err != nil {
			panic(fmt.Sprintf("storage: an answer that JSON cannot hold: %v", err))
		}
		return appendText(dst, string(text))
	}
	dst = appendText(dst, "")
	for _, n := range []int64{a.Accepted, a.Duplicates, a.Conflicts, a.Suppressed} {
		dst = binary.AppendVarint(dst, n)
	}
	dst = binary.AppendUvarint(dst, a.LSN)
	return binary.AppendUvarint(dst, uint64(a.Durability))
}

// key is where a token is kept.
func (t tokenRecord) key() string {
	if t.Keyed {
		return keyedToken + t.Token
	}
	return t.Token
}

// keyedToken begins the keys of tokens of which only a keyed hash is kept.
const keyedToken = "\x00keyed:"

// compare orders tokens by key.
func (t tokenRecord) compare(o tokenRecord) int { return cmp.Compare(t.key(), o.key()) }

// keyAt is the key of the token that data begins with.
func keyAt(data []byte) []byte {
	n, width := binary.Uvarint(data)
	return data[width : width+int(n)]
}
