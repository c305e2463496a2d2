package storage

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"wend/storage/vfs"
)

// readManifest reads the newest manifest of a directory; st is nil if there is none.
func readManifest(fsys vfs.FS, dir string) (m *manifest, st *state, err error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	m = &manifest{fs: fsys, dir: dir, number: newestManifest(names)}
	m.kept = m.number
	if m.number == 0 {
		// A manifest is durable before anything else of a store is written.
		if i := slices.IndexFunc(names, isData); i >= 0 {
			return nil, nil, corrupt("the manifest of %s is missing, and %s is there; %s", dir, names[i], repairHint)
		}
		return m, nil, nil
	}
	// The copy is read first: whatever a writer adds meanwhile, the first file
	// then has all that is read of the copy.
	second := readManifestFile(fsys, dir, manifestName(m.number)+copySuffix, m.number)
	first := readManifestFile(fsys, dir, manifestName(m.number), m.number)
	for _, f := range []manifestFile{first, second} {
		if f.err != nil && !errors.Is(f.err, ErrCorrupt) && !isNotExist(f.err) {
			return nil, nil, f.err
		}
	}
	best := first
	switch {
	case first.err != nil || second.err != nil:
		whole := wholeOf(first, second, m.number)
		if whole == nil {
			err := first.err
			if err == nil || isNotExist(err) {
				err = second.err
			}
			if errors.Is(err, ErrCorrupt) {
				err = fmt.Errorf("%w; %s", err, repairHint)
			}
			return nil, nil, err
		}
		best = *whole
	case second.count > first.count:
		best = second
	}
	if first.err == nil && second.err == nil && first.st.store != second.st.store {
		return nil, nil, fmt.Errorf("%w: %s and %s are of different stores", ErrCorrupt, first.name, second.name)
	}
	if best.st.format >= 2 {
		copied := second
		if len(copied.compared(best, 1)) > 0 {
			// A writer may have added to both since the copy was read. By now it has
			// what the first file had, but for one edit.
			copied = readManifestFile(fsys, dir, second.name, m.number)
		}
		m.damage = append(first.compared(best, 0), copied.compared(best, 1)...)
	}
	m.count, m.size, m.base = best.count, best.size, best.size
	m.seen.count, m.seen.size = best.count, best.size
	m.store = best.st.store
	m.read = [2]int64{first.all, second.all}
	m.torn = first.all > first.size || second.all > second.size
	return m, best.st, nil
}

// repairHint ends the errors of stores that are not opened.
const repairHint = "`wend repair` tells what can be saved; or restore a backup"

// newestManifest is the highest number of a manifest among names, 0 of none.
func newestManifest(names []string) uint64 {
	newest := uint64(0)
	for _, name := range names {
		if n, ok := manifestNumber(name); ok {
			newest = max(newest, n)
		}
	}
	return newest
}

// manifestNumber reads the number of a manifest or of its copy.
func manifestNumber(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(strings.TrimSuffix(name, copySuffix), manifestPrefix)
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil
}

// isData reports whether a file holds events of a store.
func isData(name string) bool {
	_, numbered := fileNumber(name)
	return numbered && (strings.HasSuffix(name, ".seg") || strings.HasSuffix(name, walSuffix))
}

// isOurs reports whether a file is one that a store, or a backup, may have
// written as data or manifest, whole or not. Others are somebody else's.
func isOurs(name string) bool {
	name = strings.TrimSuffix(name, tempSuffix)
	_, manifest := manifestNumber(name)
	return manifest || isData(name)
}

// stale reports whether another state was published since m was read.
func (m *manifest) stale() (bool, error) {
	if m.unchanged() {
		return false, nil
	}
	now, _, err := readManifest(m.fs, m.dir)
	return err == nil && (now.number != m.number || now.count != m.count), err
}

// unchanged reports whether the files of a manifest are those that were read:
// edits are only ever appended, and anything else is another number. Where in
// doubt, they are not.
func (m *manifest) unchanged() bool {
	return !m.torn && m.number != 0 && len(m.damage) == 0 && m.asRead()
}

// asRead reports whether no edit was published since m was read, also where
// what was read was torn or damaged: a writer that goes on adds to the files, and
// the next one begins another number.
func (m *manifest) asRead() bool {
	names, err := m.fs.ReadDir(m.dir)
	if err != nil || newestManifest(names) != m.number {
		return false
	}
	for i, name := range []string{manifestName(m.number), manifestName(m.number) + copySuffix} {
		if m.read[i] < 0 {
			if slices.Contains(names, name) {
				return false
			}
			continue
		}
		f, err := m.fs.Open(path.Join(m.dir, name))
		if err != nil {
			return false
		}
		size, err := f.Size()
		store := make([]byte, 16)
		if err == nil {
			_, err = f.ReadAt(store, 8)
		}
		f.Close()
		if err != nil || size != m.read[i] || [16]byte(store) != m.store {
			return false
		}
	}
	return true
}

// erased reports whether edits that were published since m was read may tell of
// an erasure. No edit is read twice, and where in doubt it may.
func (m *manifest) erased() bool {
	if m.torn || len(m.damage) > 0 {
		return !m.asRead()
	}
	names, err := m.fs.ReadDir(m.dir)
	if err != nil || newestManifest(names) != m.number {
		return true
	}
	f, err := m.fs.Open(path.Join(m.dir, manifestName(m.number)))
	if err != nil {
		return true
	}
	size, err := f.Size()
	var data []byte
	if err == nil && size >= m.seen.size {
		data = make([]byte, size-m.seen.size)
		_, err = f.ReadAt(data, m.seen.size)
	}
	f.Close() // only read from
	if err != nil && err != io.EOF || size < m.seen.size {
		return true
	}
	for len(data) > 0 {
		payload, ok := nextEdit(data, m.store, m.number, m.seen.count)
		var e struct{ Erase []json.RawMessage }
		if !ok || json.Unmarshal(payload, &e) != nil || len(e.Erase) > 0 {
			return true
		}
		length := editHeader + len(payload)
		data = data[length:]
		m.seen.size += int64(length)
		m.seen.count++
	}
	return false
}

// parseManifest adds up the edits of one file. valid is where the last good
// one ends: what follows was being written when the writer stopped.
func parseManifest(data []byte, number uint64) (st *state, count uint64, valid int64, err error) {
	if len(data) < manifestHeader {
		return nil, 0, 0, fmt.Errorf("%w: not a manifest", ErrCorrupt)
	}
	magic := string(data[:8])
	if magic != manifestMagic1 && !newerMagic(data, manifestMagic1) {
		return nil, 0, 0, fmt.Errorf("%w: not a manifest", ErrCorrupt)
	}
	if crc32.Checksum(data[:32], castagnoli) != binary.LittleEndian.Uint32(data[32:]) || binary.LittleEndian.Uint64(data[24:]) != number {
		return nil, 0, 0, fmt.Errorf("%w: checksum mismatch in the header", ErrCorrupt)
	}
	if newerMagic(data, manifestMagic2) {
		return nil, 0, 0, fmt.Errorf("%w: it begins with %q, and this release reads up to %q; use the release that wrote it, or a later one", ErrNewer, magic, manifestMagic2)
	}
	st = &state{format: 1}
	copy(st.store[:], data[8:24])
	pos := manifestHeader
	for {
		payload, ok := nextEdit(data[pos:], st.store, number, count)
		if !ok {
			break
		}
		e, err := decodeEdit(payload, magic, count == 0)
		if err != nil {
			return nil, 0, 0, fmt.Errorf("edit %d at offset %d: %w", count, pos, err)
		}
		if st, err = st.apply(e); err != nil {
			return nil, 0, 0, fmt.Errorf("%w: edit %d at offset %d: %v", ErrCorrupt, count, pos, err)
		}
		pos += editHeader + len(payload)
		count++
	}
	// A torn tail is one edit, has nothing readable behind it, and lacks its end,
	// or sectors that read as zeros; JSON has no zeros. Damage is neither.
	for i := pos + 1; i+editHeader <= len(data); i++ {
		if string(data[i:i+4]) != editMagic {
			continue
		}
		for later := count; later <= count+64; later++ {
			if _, ok := nextEdit(data[i:], st.store, number, later); ok {
				return nil, 0, 0, fmt.Errorf("%w: edit %d at offset %d: checksum mismatch", ErrCorrupt, count, pos)
			}
		}
	}
	if rest := data[pos:]; len(rest) > editHeader && !torn(data, int64(pos), int64(len(data))) &&
		(uint64(binary.LittleEndian.Uint32(rest[4:])) <= uint64(len(rest)-editHeader) || json.Valid(rest[editHeader:])) {
		return nil, 0, 0, fmt.Errorf("%w: edit %d at offset %d: it is all there, and its checksum is wrong", ErrCorrupt, count, pos)
	}
	if count == 0 {
		return nil, 0, 0, fmt.Errorf("%w: the manifest has no readable edit", ErrCorrupt)
	}
	return st, count, int64(pos), nil
}

func nextEdit(data []byte, store [16]byte, number, place uint64) ([]byte, bool) {
	if len(data) < editHeader || string(data[:4]) != editMagic {
		return nil, false
	}
	length := binary.LittleEndian.Uint32(data[4:])
	if uint64(length) > uint64(len(data)-editHeader) {
		return nil, false
	}
	payload := data[editHeader : editHeader+int(length)]
	return payload, editChecksum(store, number, place, payload) == binary.LittleEndian.Uint32(data[8:])
}
