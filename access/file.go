package access

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"wend/storage/vfs"
)

// FileName is the file of a store's folder that keeps its tokens. It is the
// first line, with the checksum of the rest, and a line of JSON for each token.
// It belongs to the folder and not to the events: a backup leaves it out.
const FileName = "TOKENS"

// LockName is the file that keeps two commands from changing FileName at once.
// It is not the lock of the store: tokens change beside a running server.
const LockName = "TOKENS.lock"

const header = "wend tokens 1 crc32c="

// tokensMax bounds the work of a request, which looks at every token.
const tokensMax = 1000

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Entry is what a store knows of one token.
type Entry struct {
	ID      string    `json:"id"`
	Name    string    `json:"name,omitempty"` // what it is for
	Scopes  []Scope   `json:"scopes"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Revoked time.Time `json:"revoked,omitzero"` // zero: it holds
	Digest  digest    `json:"sha256"`
}

// Holds reports whether the token opens anything at a time.
func (e *Entry) Holds(now time.Time) bool {
	return e.Revoked.IsZero() && (e.Expires.IsZero() || now.Before(e.Expires))
}

// State is valid, expired or revoked.
func (e *Entry) State(now time.Time) string {
	switch {
	case !e.Revoked.IsZero():
		return "revoked"
	case !e.Holds(now):
		return "expired"
	}
	return "valid"
}

// ErrDamaged says that the file of tokens is not as it was written.
var ErrDamaged = errors.New("the file of tokens is damaged; move it away and make new tokens")

// ErrNoToken says that there is no token with an id.
var ErrNoToken = errors.New("there is no such token")

// List reads the tokens of a store's folder. There are none where there is no file.
func List(fsys vfs.FS, dir string) ([]Entry, error) {
	data, err := vfs.ReadFile(fsys, path.Join(dir, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the tokens of %s: %w", dir, err)
	}
	entries, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("read the tokens of %s: %w", dir, err)
	}
	return entries, nil
}

func decode(data []byte) ([]Entry, error) {
	first, rest, ok := bytes.Cut(data, []byte("\n"))
	if !ok || string(first) != header+checksum(rest) {
		return nil, ErrDamaged
	}
	var entries []Entry
	dec := json.NewDecoder(bytes.NewReader(rest))
	dec.DisallowUnknownFields()
	for dec.More() {
		var e Entry
		if err := dec.Decode(&e); err != nil {
			return nil, ErrDamaged
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func checksum(rest []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(rest, castagnoli)) }

func encode(entries []Entry) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, e := range entries {
		if err := enc.Encode(e); err != nil {
			return nil, err
		}
	}
	return append([]byte(header+checksum(b.Bytes())+"\n"), b.Bytes()...), nil
}

// Create adds a token and returns it, for the only time.
func Create(fsys vfs.FS, dir, name string, scopes []Scope, now, expires time.Time) (Token, Entry, error) {
	if len(scopes) == 0 {
		return Token{}, Entry{}, errors.New("a token needs a scope")
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return Token{}, Entry{}, fmt.Errorf("create a token: %w", err)
	}
	var id [4]byte
	rand.Read(id[:])
	token := NewToken()
	e := Entry{ID: hex.EncodeToString(id[:]), Name: name, Scopes: scopes, Created: now.UTC().Truncate(time.Second), Expires: expires.UTC(), Digest: digestOf(token)}
	err := change(fsys, dir, func(entries []Entry) ([]Entry, error) {
		for len(entries) >= tokensMax {
			dead := slices.IndexFunc(entries, func(e Entry) bool { return !e.Holds(now) })
			if dead < 0 {
				return nil, fmt.Errorf("a store has at most %d tokens; revoke some", tokensMax)
			}
			entries = slices.Delete(entries, dead, dead+1)
		}
		return append(entries, e), nil
	})
	if err != nil {
		return Token{}, Entry{}, fmt.Errorf("create a token: %w", err)
	}
	return token, e, nil
}

// Revoke ends a token. It stays in the list, so that a folder whose tokens are
// all revoked is not one that never had any.
func Revoke(fsys vfs.FS, dir, id string, now time.Time) error {
	err := change(fsys, dir, func(entries []Entry) ([]Entry, error) {
		i := slices.IndexFunc(entries, func(e Entry) bool { return strings.EqualFold(e.ID, id) })
		if i < 0 {
			return nil, ErrNoToken
		}
		if entries[i].Revoked.IsZero() {
			entries[i].Revoked = now.UTC().Truncate(time.Second)
		}
		return entries, nil
	})
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	return nil
}

// change replaces the file in one step that a crash leaves done or not done.
// Package storage has such a function for its own files: there each call that
// changes a file is a place where its tests let the power fail, so it is not shared.
func change(fsys vfs.FS, dir string, with func([]Entry) ([]Entry, error)) error {
	lock, err := fsys.Lock(path.Join(dir, LockName))
	if err != nil {
		return err
	}
	defer lock.Close()
	entries, err := List(fsys, dir)
	if err != nil {
		return err
	}
	if entries, err = with(entries); err != nil {
		return err
	}
	data, err := encode(entries)
	if err != nil {
		return err
	}
	name := path.Join(dir, FileName)
	if err := fsys.Remove(name + ".new"); err != nil { // of a command that was cut off
		return err
	}
	f, err := fsys.Create(name + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = fsys.Rename(name+".new", name)
	}
	if err != nil {
		return errors.Join(err, fsys.Remove(name+".new"))
	}
	return fsys.SyncDir(dir)
}
