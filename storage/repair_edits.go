package storage

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"slices"

	"wend/storage/vfs"
)

// An edit's checksum covers the store, the number of the file and the place of
// the edit in it. So an edit that can be read is certain, wherever it is found
// and in whichever of the two files, and how many are missing before it is, too.

// foundEdit is an edit that can be read.
type foundEdit struct {
	number, place uint64 // of the file, and in it
	edit          *edit
}

// editGap is edits of one file that neither of its copies has.
type editGap struct {
	number, first uint64
	count         uint64 // 0: nobody knows how many, and whether there are any
	after         int    // so many edits were read before them
}

// String names the edits for people.
func (g editGap) String() string {
	name := manifestName(g.number)
	switch {
	case g.count == 0 && g.first == 0:
		return name
	case g.count == 0:
		return fmt.Sprintf("%s: what follows edit %d", name, g.first-1)
	case g.first == 0 && g.count == 1:
		return fmt.Sprintf("%s: edit 0, which holds all that was before", name)
	case g.count == 1:
		return fmt.Sprintf("%s: edit %d", name, g.first)
	}
	return fmt.Sprintf("%s: edits %d to %d", name, g.first, g.first+g.count-1)
}

// editBytes is the least that an edit takes in a file.
const editBytes = editHeader + 2

// remains is what can be read of a manifest and its copy.
type remains struct {
	number  uint64
	files   []string // that are there
	damage  []Damage
	edits   []foundEdit // by place
	missing []editGap   // rising; after is not filled in

	restored int // edits of which each file has a part
}

// readRemains reads whatever can be read of the manifests of a store.
func readRemains(fsys vfs.FS, dir string, store [16]byte, number uint64) (*remains, error) {
	m := &remains{number: number}
	var copies [][]byte
	magic := manifestMagic2 // releases of format 1 wrote the other
	for _, name := range []string{manifestName(number), manifestName(number) + copySuffix} {
		f := readManifestFile(fsys, dir, name, number)
		switch {
		case errors.Is(f.err, ErrNewer):
			return nil, f.err
		case isNotExist(f.err):
			m.damage = append(m.damage, Damage{name, "the file is missing"})
			continue
		case f.err != nil && !errors.Is(f.err, ErrCorrupt):
			return nil, f.err
		case f.err != nil:
			m.damage = append(m.damage, Damage{name, f.err.Error()})
		default:
			m.damage = append(m.damage, Damage{name, fmt.Sprintf("it ends after %d edits", f.count)})
			data, err := vfs.ReadFile(fsys, path.Join(dir, name))
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", name, err)
			}
			f.data = data
		}
		m.files = append(m.files, name)
		copies = append(copies, f.data)
		if s, ok := headerStore(f.data, number); ok && s == store {
			magic = string(f.data[:8])
		}
	}
	found := map[uint64][]byte{}
	last, rest := int64(-1), false
	for i, data := range copies {
		places, tail := scanEdits(data, store, number)
		end := int64(-1)
		for place, payload := range places {
			end = max(end, int64(place))
			found[place] = payload
		}
		// What one file cannot tell of its end the other may.
		if end > last {
			last, rest = end, tail
		} else if end == last {
			rest = rest || tail
		}
		if i == 1 {
			var whole bool
			m.restored, whole = joinEdits(found, copies, store, number)
			rest = rest && !whole
		}
	}
	next := uint64(0)
	for _, place := range sortedNumbers(found) {
		e, err := decodeFound(found[place], magic, place == 0)
		if errors.Is(err, ErrNewer) {
			return nil, fmt.Errorf("read %s: edit %d: %w", path.Join(dir, manifestName(number)), place, err)
		}
		if err != nil {
			continue // its checksum holds, but no writer made it
		}
		if place > next {
			m.missing = append(m.missing, editGap{number: number, first: next, count: place - next})
		}
		m.edits = append(m.edits, foundEdit{number, place, e})
		next = place + 1
	}
	if rest || len(m.edits) == 0 {
		m.missing = append(m.missing, editGap{number: number, first: next})
	}
	return m, nil
}

// decodeFound is decodeEdit where the header of the file may be damaged.
func decodeFound(payload []byte, magic string, first bool) (*edit, error) {
	e, err := decodeEdit(payload, magic, first)
	if first && errors.Is(err, ErrCorrupt) {
		var format struct{ Format int }
		if json.Unmarshal(payload, &format) == nil && format.Format == 0 {
			return decodeEdit(payload, manifestMagic1, first)
		}
	}
	return e, err
}

// scanEdits finds the edits of a file, by place, also behind damage. tail
// reports whether something stands behind the last of them.
func scanEdits(data []byte, store [16]byte, number uint64) (found map[uint64][]byte, tail bool) {
	found = map[uint64][]byte{}
	pos, place := min(manifestHeader, len(data)), uint64(0)
	for pos < len(data) {
		payload, ok := nextEdit(data[pos:], store, number, place)
		if !ok {
			pos, place, ok = nextReadable(data, pos, place, store, number)
			if !ok {
				return found, true
			}
			continue
		}
		found[place] = payload
		pos += editHeader + len(payload)
		place++
	}
	return found, len(found) == 0
}

// nextReadable looks behind damage for the next edit, and which it is: the
// damage has room for so many and no more.
func nextReadable(data []byte, pos int, place uint64, store [16]byte, number uint64) (at int, which uint64, ok bool) {
	for at := pos; at+editHeader <= len(data); at++ {
		if string(data[at:at+4]) != editMagic {
			continue
		}
		for which := place; which <= place+uint64((at-pos)/editBytes)+1; which++ {
			if _, ok := nextEdit(data[at:], store, number, which); ok {
				return at, which, true
			}
		}
	}
	return 0, 0, false
}

// joinPlaces bounds the places at which two files differ within one edit: each
// is tried as either has it.
const joinPlaces = 12

// joinEdits puts together edits that are damaged in both files, but not at the
// same bytes: their checksum tells when they are whole. whole reports whether
// nothing is left that is not an edit.
func joinEdits(found map[uint64][]byte, copies [][]byte, store [16]byte, number uint64) (count int, whole bool) {
	a, b := copies[0], copies[1]
	pos, place := manifestHeader, uint64(0)
	for pos < min(len(a), len(b)) {
		payload := found[place]
		if payload == nil {
			if payload = joinEdit(a[pos:], b[pos:], store, number, place); payload == nil {
				return count, false
			}
			found[place] = payload
			count++
		}
		pos += editHeader + len(payload)
		place++
	}
	return count, pos == max(len(a), len(b))
}

// joinEdit is one edit of which two files have different parts; nil if that is
// not enough.
func joinEdit(a, b []byte, store [16]byte, number, place uint64) []byte {
	for _, head := range [][]byte{a, b} { // its length, as one of them has it
		if len(head) < editHeader {
			continue
		}
		length := uint64(binary.LittleEndian.Uint32(head[4:])) + editHeader
		if length > uint64(min(len(a), len(b))) {
			continue
		}
		edit := slices.Clone(a[:length])
		var runs [][2]int // where they differ
		for i := range edit {
			if a[i] == b[i] {
				continue
			}
			if k := len(runs) - 1; k >= 0 && runs[k][1] == i {
				runs[k][1]++
			} else {
				runs = append(runs, [2]int{i, i + 1})
			}
		}
		if len(runs) > joinPlaces {
			continue
		}
		for which := range 1 << len(runs) {
			for k, run := range runs {
				from := a
				if which>>k&1 == 1 {
					from = b
				}
				copy(edit[run[0]:run[1]], from[run[0]:run[1]])
			}
			if payload, ok := nextEdit(edit, store, number, place); ok {
				return payload
			}
		}
	}
	return nil
}

// headerStore reads the store's id from the header of a manifest.
func headerStore(data []byte, number uint64) (store [16]byte, ok bool) {
	if len(data) < manifestHeader || crc32.Checksum(data[:32], castagnoli) != binary.LittleEndian.Uint32(data[32:]) ||
		binary.LittleEndian.Uint64(data[24:]) != number {
		return store, false
	}
	return [16]byte(data[8:24]), true
}

func sortedNumbers[V any](m map[uint64]V) []uint64 {
	list := make([]uint64, 0, len(m))
	for n := range m {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}
