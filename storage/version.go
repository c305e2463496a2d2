package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"wend/internal/seeded"
)

// FormatVersion is the newest format of a store that this release reads and
// writes, and that new stores have. A store keeps its format until it is
// upgraded: what a later format adds is neither written to it nor expected in
// it, so that every release that knows its format goes on opening it.
//
//	1  the first release: manifest, log and segments
//	2  the manifest begins with "wendMAN2", which releases that know only
//	   format 1 refuse, and its first edit names the format; readers of format
//	   2 refuse a field that they do not know, where those of format 1 ignored it
//
// A format is raised before anything of it is written, so the manifest tells of
// every file of the store. Within a store the files of kinds that did not
// change keep the version in their own header.
const FormatVersion = 2

// ErrNewer says that a store was written by a release newer than this one.
// Nothing of it was changed.
var ErrNewer = errors.New("written by a newer release")

// newerFormat names the format that a reader would have to know.
func newerFormat(format int) error {
	return fmt.Errorf("%w: the store has format %d, and this release reads formats 1 to %d; use a release that reads format %d", ErrNewer, format, FormatVersion, format)
}

// manifestMagicOf is what the manifest of a store begins with. The eight bytes
// change only when older releases must be kept from reading on; a newer format
// is named by the first edit.
func manifestMagicOf(format int) string {
	if format == 1 {
		return manifestMagic1
	}
	return manifestMagic2
}

// newerMagic reports whether a file begins with a magic of which only the last
// byte, a digit, is not the one known. The caller has verified the header's
// checksum: damage does not make a file newer.
func newerMagic(head []byte, known string) bool {
	k := len(known) - 1
	return len(head) > k && string(head[:k]) == known[:k] && head[k] > known[k] && head[k] <= '9'
}

// Upgrade raises the store to FormatVersion: from then on releases that do not
// know it refuse the store. It is one manifest written anew, so a crash leaves
// the one format or the other. A store that has the format already stays as it is.
func (s *Store) Upgrade(ctx context.Context) (from, to int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(ctx.Err(), s.usable(true)); err != nil {
		return 0, 0, fmt.Errorf("upgrade: %w", err)
	}
	from = s.state().format
	if from == FormatVersion {
		return from, from, nil
	}
	next := *s.state()
	next.format, next.next = FormatVersion, s.next
	if err := s.manifest.rewrite(&next); err != nil {
		return from, from, fmt.Errorf("upgrade to format %d: %w", FormatVersion, err)
	}
	s.published.Store(&next)
	return from, FormatVersion, nil
}

// decodeEdit reads an edit, the first of a file or a later one, and refuses
// what this release does not know.
func decodeEdit(payload []byte, magic string, first bool) (*edit, error) {
	e := &edit{}
	if seeded.On("newer_format_opened") {
		return e, json.Unmarshal(payload, e)
	}
	strict := json.NewDecoder(bytes.NewReader(payload))
	strict.DisallowUnknownFields()
	if unknown := strict.Decode(e); unknown != nil {
		var known edit
		if err := json.Unmarshal(payload, &known); err != nil {
			return nil, corrupt("%v", err)
		}
		if known.Format > FormatVersion {
			return nil, newerFormat(known.Format)
		}
		field := strings.TrimPrefix(unknown.Error(), "json: unknown field ")
		return nil, fmt.Errorf("%w: the manifest has %s, which no format up to %d has; use the release that wrote it, or a later one", ErrNewer, field, FormatVersion)
	}
	if e.Format > FormatVersion {
		return nil, newerFormat(e.Format)
	}
	if strict.InputOffset() != int64(len(payload)) {
		return nil, corrupt("something follows the edit")
	}
	switch format := max(e.Format, 1); {
	case first && manifestMagicOf(format) != magic:
		return nil, corrupt("a manifest that begins with %q has format %d", magic, format)
	case !first && e.Format != 0:
		return nil, corrupt("the format changes within a file")
	}
	return e, nil
}

// refuseNewer looks at a store before anything in its directory is touched,
// the lock included. Whatever else it finds is for the opening to report.
func (s *Store) refuseNewer() error {
	_, st, err := readManifest(s.fs, s.dir)
	if isNotExist(err) || errors.Is(err, ErrCorrupt) {
		return nil
	}
	if err != nil || st == nil {
		return err
	}
	for _, r := range st.segments {
		seg := &segment{name: r.file(), r: bytes.NewReader(s.head(r.file(), headerSize))}
		seg.Size, seg.Store, seg.ID = r.Size, st.store, r.ID
		if err := seg.readHeader(); errors.Is(err, ErrNewer) {
			return fmt.Errorf("%s: %w", seg.name, err)
		}
	}
	names, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, n := range walNumbers(names, st.wal) {
		const most = 64 << 10 // holds the header of a log with thousands of predecessors
		if _, err := (&walFile{number: n}).header(s.head(walName(n), most), st.store); errors.Is(err, ErrNewer) {
			return fmt.Errorf("%s: %w", walName(n), err)
		}
	}
	return nil
}

// head is what can be read of the first bytes of a file. A file that cannot be
// read is not newer; opening it tells what is missing.
func (s *Store) head(name string, size int) []byte {
	data := make([]byte, size)
	n := 0
	f, err := s.fs.Open(path.Join(s.dir, name))
	if err == nil {
		n, err = f.ReadAt(data, 0)
		_ = f.Close() // only read from
	}
	if err != nil && err != io.EOF {
		s.opt.Log.Warn("look for a newer version", "file", name, "error", err)
	}
	return data[:n]
}
