package access

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"wend/storage/vfs"
)

// rereadAfter is the longest that a change of the files goes unnoticed while
// requests come in: a revoked token is refused well within a second.
const rereadAfter = 250 * time.Millisecond

// Grant is what the holder of a token may do.
type Grant struct {
	ID     string // of the token; never secret
	Scopes []Scope
}

// Has reports whether one of the scopes is granted.
func (g Grant) Has(any ...Scope) bool {
	return slices.ContainsFunc(any, func(s Scope) bool { return slices.Contains(g.Scopes, s) })
}

// ErrRefused is the answer to every token that does not hold: unknown, wrong,
// expired and revoked ones are not told apart.
var ErrRefused = errors.New("the token is not valid")

// Keeper answers for the tokens of a folder, and of a token file, while both
// may change beside it. What it cannot read it takes for closed.
type Keeper struct {
	fs   vfs.FS
	dir  string
	file string // of tokens given from outside; empty: none
	now  func() time.Time

	mu       sync.Mutex
	at       time.Time // of the last reading
	read     [2][]byte // what was read, to decode it only where it changed
	entries  []Entry
	required bool // a file was read once: from then on the server is closed without a token
	err      error
}

// Keep reads the tokens of a store's folder and, unless its name is empty, of a
// token file. now may be nil.
func Keep(fsys vfs.FS, dir, file string, now func() time.Time) (*Keeper, error) {
	if now == nil {
		now = time.Now
	}
	k := &Keeper{fs: fsys, dir: dir, file: file, now: now}
	k.refresh()
	if k.err != nil {
		return nil, k.err
	}
	if file != "" && len(k.entries) == 0 {
		return nil, fmt.Errorf("read the tokens of %s: there is no token in the file", file)
	}
	return k, nil
}

// Required reports whether callers need a token: where one exists or existed.
func (k *Keeper) Required() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	return k.required || k.err != nil
}

// Grant returns what a token may do, or ErrRefused. It does the same work for
// every token: it looks at all that there are, whether one has matched or not.
func (k *Keeper) Grant(t Token) (Grant, error) {
	k.mu.Lock()
	k.refresh()
	entries, err := k.entries, k.err
	k.mu.Unlock()
	sent := digestOf(t)
	found := -1
	for i := range entries {
		found = subtle.ConstantTimeSelect(entries[i].Digest.equal(&sent), i, found)
	}
	if err != nil {
		return Grant{}, err
	}
	if found < 0 || !entries[found].Holds(k.now()) {
		return Grant{}, ErrRefused
	}
	return Grant{ID: entries[found].ID, Scopes: entries[found].Scopes}, nil
}

// refresh reads the files where the last reading is old. The caller holds mu.
func (k *Keeper) refresh() {
	now := k.now()
	if !k.at.IsZero() && now.Sub(k.at) < rereadAfter && !now.Before(k.at) {
		return
	}
	k.at = now
	kept, err := vfs.ReadFile(k.fs, path.Join(k.dir, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		kept, err = nil, nil
	}
	var given []byte
	if err == nil && k.file != "" {
		given, err = vfs.ReadFile(k.fs, k.file)
	}
	if err != nil {
		k.fail(err)
		return
	}
	if k.err == nil && bytes.Equal(kept, k.read[0]) && bytes.Equal(given, k.read[1]) && (kept == nil) == (k.read[0] == nil) {
		return // an empty file is not the same as none: it is damaged
	}
	k.required = k.required || kept != nil || given != nil // also where the file is damaged
	var entries []Entry
	if kept != nil {
		if entries, err = decode(kept); err != nil {
			k.fail(err)
			return
		}
	}
	more, err := decodeGiven(given)
	if err != nil {
		k.fail(fmt.Errorf("%s: %w", k.file, err))
		return
	}
	k.read = [2][]byte{kept, given}
	k.entries, k.err = append(entries, more...), nil
}

func (k *Keeper) fail(err error) {
	k.entries, k.read = nil, [2][]byte{}
	k.err = fmt.Errorf("read the tokens: %w", err)
}

// decodeGiven reads a token file: a token a line, behind it its scopes; all of
// them without any. Lines that begin with # are comments.
func decodeGiven(file []byte) ([]Entry, error) {
	var entries []Entry
	n := 0
	for line := range strings.Lines(string(file)) {
		n++
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		token, err := ParseToken(words[0])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		e := Entry{ID: fmt.Sprintf("line-%d", n), Scopes: Scopes, Digest: digestOf(token)}
		if len(words) > 1 {
			if e.Scopes, err = ParseScopes(strings.Join(words[1:], ",")); err != nil {
				return nil, fmt.Errorf("line %d: its scopes cannot be read", n)
			}
		}
		if len(entries) == tokensMax {
			return nil, fmt.Errorf("there are more than %d tokens", tokensMax)
		}
		entries = append(entries, e)
	}
	return entries, nil
}
