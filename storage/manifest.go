package storage

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"wend/event"
	"wend/internal/seeded"
	"wend/storage/vfs"
)

// The manifest is a log of edits. Its file, MANIFEST-000007, begins with
//
//	8 bytes  "wendMAN1" in a store of format 1, "wendMAN2" in a newer one
//	16       store id
//	8        file number, little endian like all numbers here
//	4        CRC32C of the 32 bytes before
//
// and holds one frame for every edit:
//
//	4 bytes  "wEdt"
//	4        length of the edit
//	4        CRC32C of store id, file number, place in the log (8 bytes each number), edit
//	...      the edit in JSON, so that it can be read without this program
//
// The first edit of a file holds the whole state, and the store's format. A state is published when
// its edit is synced. When a file has grown far past its first edit, the state
// is written to the next number under a temporary name, synced, renamed, and
// only then is the old file removed: the highest number is the one that counts.
//
// In a store of format 2 every edit is then written and synced a second time, to
// MANIFEST-000007.copy, a file of the same bytes, before it is acknowledged. An
// opening takes the file that has more edits. After a crash the copy may lack
// the last one, or, of one edit only, either file; all else is damage, and the
// next writer sets the damaged file aside and writes both anew.
const (
	manifestMagic1 = "wendMAN1"
	manifestMagic2 = "wendMAN2"
	manifestPrefix = "MANIFEST-"
	copySuffix     = ".copy"
	editMagic      = "wEdt"
	editHeader     = 12
	manifestHeader = 36

	// rewriteBytes is how much a manifest may grow past its first edit: small
	// enough to read at every opening, large enough to make rewriting rare.
	rewriteBytes = 1 << 20

	// Answers to batch tokens are kept for a week, however many, and longer
	// while they are few.
	tokensKept = 7 * event.Day
	tokensMost = 1_000_000
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// edit is one change of a store's state. Absent fields change nothing.
type edit struct {
	Format     int                `json:"format,omitempty"`   // see FormatVersion; absent: 1; in the first edit of a file only
	Next       uint64             `json:"next,omitempty"`     // file numbers below are taken
	LSN        uint64             `json:"lsn,omitempty"`      // batches up to it are in segments
	Epoch      uint64             `json:"epoch,omitempty"`    // counts visible changes that are not batches
	WAL        uint64             `json:"wal,omitempty"`      // log files below are no longer needed
	Logs       []uint64           `json:"logs,omitempty"`     // log files that were begun, durably; from format 2 on
	Received   int64              `json:"received,omitempty"` // when the newest batch came
	Width      string             `json:"width,omitempty"`    // of a time partition
	Events     []string           `json:"events,omitempty"`
	Channels   []string           `json:"channels,omitempty"`
	Properties []propertyRecord   `json:"properties,omitempty"`
	Remove     []uint64           `json:"remove,omitempty"`
	Add        []segmentRecord    `json:"add,omitempty"`
	Imports    []importRecord     `json:"imports,omitempty"`
	Undo       []string           `json:"undo,omitempty"`
	Links      []Link             `json:"links,omitempty"`
	Unlink     []string           `json:"unlink,omitempty"`
	Define     []event.Definition `json:"define,omitempty"`
	Drop       []string           `json:"drop,omitempty"`
	Tokens     []tokenRecord      `json:"tokens,omitempty"`
	EraseKey   []byte             `json:"erase_key,omitempty"`  // of the keyed hashes in Erase
	Erase      []eraseRecord      `json:"erase,omitempty"`      // asked for, gone on or finished
	Quarantine []quarantineRecord `json:"quarantine,omitempty"` // files that are set aside, their segments removed
	Release    []string           `json:"release,omitempty"`    // files that are no longer set aside
	Retain     *retainRecord      `json:"retain,omitempty"`     // in the place of the one before
}

type propertyRecord struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// segmentRecord is what the manifest knows about a segment without opening it.
type segmentRecord struct {
	ID        uint64     `json:"id"`
	Size      int64      `json:"size"`
	Checksum  uint32     `json:"crc"`
	FirstLSN  uint64     `json:"first"`
	LastLSN   uint64     `json:"last"`
	Partition int64      `json:"partition"`
	Rows      int64      `json:"rows"`
	Customers int64      `json:"customers"`
	MinTime   event.Time `json:"min"`
	MaxTime   event.Time `json:"max"`
	Erased    uint64     `json:"erased,omitempty"` // erasures up to this number are done in it
	Hash      uint64     `json:"hash,omitempty"`   // xxHash64 of the file; of those that stores of format 1 wrote there is none
	Salt      uint32     `json:"salt,omitempty"`   // that the file's header has
}

// is reports whether a file with this checksum and hash is the segment's.
func (r segmentRecord) is(checksum uint32, hash uint64) bool {
	return checksum == r.Checksum && (r.Hash == 0 || hash == r.Hash)
}

func (r segmentRecord) file() string { return fmt.Sprintf("%06d.seg", r.ID) }

type importRecord struct {
	ID     string     `json:"id"`
	Source string     `json:"source"`
	At     event.Time `json:"at"`
	Events int64      `json:"events"`
	Undone bool       `json:"undone,omitempty"`
}

type tokenRecord struct {
	Token string     `json:"token"`
	At    event.Time `json:"at"`
	Ack   Ack        `json:"ack"`
	Keyed bool       `json:"keyed,omitempty"` // Token is a keyed hash: an erasure took the text
}

// state is what the edits of a manifest add up to. A published state does not
// change: apply makes the next one.
type state struct {
	store      [16]byte
	format     int
	next       uint64
	lsn        uint64
	epoch      uint64
	wal        uint64
	logs       []uint64 // log files from wal on that were begun: one that is not there is missing
	received   event.Time
	width      string
	events     []string
	channels   []string
	properties []event.Property
	segments   []segmentRecord // by FirstLSN, then ID
	imports    []importRecord  // code of an import: its place here, plus one
	links      map[string]string
	defines    []event.Definition // by name
	tokens     map[string]tokenRecord
	eraseKey   []byte
	erasures   []eraseRecord      // by number
	quarantine []quarantineRecord // in the order in which they were set aside
	retain     *retainRecord      // nil: nothing was ever too old
}

// apply returns the state after e. It fails on an edit that no writer makes.
func (s *state) apply(e *edit) (*state, error) {
	n := *s
	n.format = max(s.format, e.Format)
	n.next = max(s.next, e.Next)
	n.lsn = max(s.lsn, e.LSN)
	n.epoch = max(s.epoch, e.Epoch)
	n.wal = max(s.wal, e.WAL)
	n.logs = slices.DeleteFunc(append(slices.Clone(s.logs), e.Logs...), func(number uint64) bool {
		return number < n.wal || slices.Contains(e.Release, walName(number))
	})
	n.received = max(s.received, event.Time(e.Received))
	if e.Width != "" {
		n.width = e.Width
	}
	n.events = append(slices.Clip(s.events), e.Events...)
	n.channels = append(slices.Clip(s.channels), e.Channels...)
	n.properties = slices.Clone(s.properties)
	for _, p := range e.Properties {
		t, ok := event.ParseType(p.Type)
		if !ok {
			return nil, fmt.Errorf("property %q has unknown type %q", p.Name, p.Type)
		}
		i := -1 // one without a name was erased: it only keeps its place
		if p.Name != "" {
			i = slices.IndexFunc(n.properties, func(q event.Property) bool { return q.Name == p.Name })
		}
		if i < 0 {
			n.properties = append(n.properties, event.Property{Name: p.Name, Type: t})
		} else {
			n.properties[i].Type = t
		}
	}
	if len(e.Add)+len(e.Remove) > 0 {
		n.segments = slices.DeleteFunc(slices.Clone(s.segments), func(r segmentRecord) bool { return slices.Contains(e.Remove, r.ID) })
		if len(n.segments) != len(s.segments)-len(e.Remove) {
			return nil, errors.New("a segment is removed that is not there")
		}
		n.segments = append(n.segments, e.Add...)
		slices.SortFunc(n.segments, compareSegments)
	}
	if len(e.Imports)+len(e.Undo) > 0 {
		n.imports = append(slices.Clone(s.imports), e.Imports...)
		for _, id := range e.Undo {
			i := slices.IndexFunc(n.imports, func(r importRecord) bool { return r.ID == id })
			if i < 0 {
				return nil, fmt.Errorf("import %q is undone but was never made", id)
			}
			n.imports[i].Undone = true
		}
	}
	if len(e.Links)+len(e.Unlink) > 0 {
		n.links = maps.Clone(s.links)
		if n.links == nil {
			n.links = map[string]string{}
		}
		for _, from := range e.Unlink {
			delete(n.links, from)
		}
		for _, l := range e.Links {
			n.links[l.From] = l.To
		}
	}
	if len(e.Define)+len(e.Drop) > 0 {
		n.defines = slices.DeleteFunc(slices.Clone(s.defines), func(d event.Definition) bool {
			return slices.Contains(e.Drop, d.Name) || slices.ContainsFunc(e.Define, func(f event.Definition) bool { return f.Name == d.Name })
		})
		n.defines = append(n.defines, e.Define...)
		slices.SortFunc(n.defines, func(a, b event.Definition) int { return strings.Compare(a.Name, b.Name) })
	}
	if e.Retain != nil {
		n.retain = e.Retain
	}
	if e.EraseKey != nil {
		n.eraseKey = e.EraseKey
	}
	if len(e.Erase) > 0 {
		n.erasures = slices.Clone(s.erasures)
		for _, r := range e.Erase {
			i := slices.IndexFunc(n.erasures, func(o eraseRecord) bool { return o.Number == r.Number })
			if i < 0 {
				n.erasures = append(n.erasures, r)
			} else {
				n.erasures[i] = r
			}
		}
	}
	if len(e.Tokens) > 0 {
		n.tokens = maps.Clone(s.tokens)
		if n.tokens == nil {
			n.tokens = map[string]tokenRecord{}
		}
		newest := event.Time(math.MinInt64)
		for _, t := range e.Tokens {
			n.tokens[t.key()] = t
			newest = max(newest, t.At)
		}
		if len(n.tokens) > tokensMost {
			maps.DeleteFunc(n.tokens, func(_ string, t tokenRecord) bool { return t.At < newest.Add(-tokensKept) })
		}
	}
	return &n, n.applyQuarantine(e)
}

// compareSegments orders segments by arrival; those of one batch by id.
func compareSegments(a, b segmentRecord) int {
	if a.FirstLSN != b.FirstLSN {
		if a.FirstLSN < b.FirstLSN {
			return -1
		}
		return 1
	}
	if a.ID < b.ID {
		return -1
	}
	return 1
}

// whole returns the one edit that makes s from nothing.
func (s *state) whole() *edit {
	e := &edit{
		Next: s.next, LSN: s.lsn, Epoch: s.epoch, WAL: s.wal, Logs: s.logs, Received: int64(s.received), Width: s.width,
		Events: s.events, Channels: s.channels, Properties: propertyRecords(s.properties),
		Add: s.segments, Imports: s.imports, Define: s.defines, EraseKey: s.eraseKey, Erase: s.erasures, Quarantine: s.quarantine,
		Retain: s.retain,
	}
	if s.format > 1 {
		e.Format = s.format
	}
	for _, from := range slices.Sorted(maps.Keys(s.links)) {
		e.Links = append(e.Links, Link{from, s.links[from]})
	}
	for _, token := range slices.Sorted(maps.Keys(s.tokens)) {
		e.Tokens = append(e.Tokens, s.tokens[token])
	}
	return e
}

func propertyRecords(list []event.Property) []propertyRecord {
	var records []propertyRecord
	for _, p := range list {
		records = append(records, propertyRecord{p.Name, p.Type.String()})
	}
	return records
}

// manifest is the open log of the writer.
type manifest struct {
	fs     vfs.FS
	dir    string
	number uint64   // the highest in use, by a file that was given up, too
	kept   uint64   // of the newest file that is whole and durable
	file   vfs.File // nil until the first edit, and after a failure: then the next edit begins a new file
	count  uint64   // edits in the file
	size   int64
	base   int64 // size after the first edit

	second vfs.File // its copy; nil in a store of format 1, and when file is
	damage []Damage // found when it was read, in one of the two files

	store [16]byte
	read  [2]int64 // bytes of the file and its copy that were read, -1 of one that is missing
	torn  bool     // some of them were no edits
}

func manifestName(number uint64) string { return fmt.Sprintf("%s%06d", manifestPrefix, number) }

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
			return nil, nil, corrupt("the manifest of %s is missing, and %s is there; put the manifest back, or restore a backup", dir, names[i])
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
	switch whole := first.joined(second, m.number); {
	case whole != nil:
		best = *whole
	case first.err != nil && second.err != nil:
		if isNotExist(first.err) {
			return nil, nil, second.err
		}
		return nil, nil, first.err
	case first.err != nil, second.err == nil && second.count > first.count:
		best = second
	}
	if first.err == nil && second.err == nil && first.st.store != second.st.store {
		return nil, nil, fmt.Errorf("%w: %s and %s are of different stores", ErrCorrupt, first.name, second.name)
	}
	if best.st.format >= 2 {
		m.damage = append(first.compared(best, 0), second.compared(best, 1)...)
	}
	m.count, m.size, m.base = best.count, best.size, best.size
	m.store = best.st.store
	m.read = [2]int64{first.all, second.all}
	m.torn = first.all > first.size || second.all > second.size
	return m, best.st, nil
}

// unchanged reports whether the files of a manifest are those that were read:
// edits are only ever appended, and anything else is another number. Where in
// doubt, they are not.
func (m *manifest) unchanged() bool {
	if m.torn || m.number == 0 || len(m.damage) > 0 {
		return false
	}
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

// manifestFile is what could be read of a manifest or of its copy.
type manifestFile struct {
	name  string
	st    *state
	count uint64
	size  int64 // of its edits
	all   int64 // of the file, -1 if it is missing
	err   error
	data  []byte // if it is damaged
}

// joined reads two damaged files as one: they hold the same bytes, so an edit
// that is damaged in one of them is taken from the other. It is nil if some edit
// is in neither, or if that cannot be told.
func (f manifestFile) joined(other manifestFile, number uint64) *manifestFile {
	if !errors.Is(f.err, ErrCorrupt) || !errors.Is(other.err, ErrCorrupt) {
		return nil
	}
	whole := f.data
	if len(whole) < manifestHeader || crc32.Checksum(whole[:32], castagnoli) != binary.LittleEndian.Uint32(whole[32:]) {
		whole = other.data
	}
	if len(whole) < manifestHeader {
		return nil
	}
	data := slices.Clone(whole[:manifestHeader]) // parseManifest verifies it
	for place := uint64(0); ; place++ {
		found := false
		for _, from := range [][]byte{f.data, other.data} {
			if found || len(from) <= len(data) {
				continue
			}
			var payload []byte
			if payload, found = nextEdit(from[len(data):], [16]byte(data[8:24]), number, place); found {
				data = append(data, from[len(data):len(data)+editHeader+len(payload)]...)
			}
		}
		if !found {
			break
		}
	}
	// What follows in either must be what a crash leaves, and no damage.
	for _, from := range [][]byte{f.data, other.data} {
		if len(from) <= len(data) {
			continue
		}
		if _, _, _, err := parseManifest(append(slices.Clone(data), from[len(data):]...), number); err != nil {
			return nil
		}
	}
	st, count, size, err := parseManifest(data, number)
	if err != nil {
		return nil
	}
	return &manifestFile{name: f.name, st: st, count: count, size: size}
}

// isData reports whether a file holds events of a store.
func isData(name string) bool {
	_, numbered := fileNumber(name)
	return numbered && (strings.HasSuffix(name, ".seg") || strings.HasSuffix(name, walSuffix))
}

func readManifestFile(fsys vfs.FS, dir, name string, number uint64) manifestFile {
	f := manifestFile{name: name, all: -1}
	data, err := vfs.ReadFile(fsys, path.Join(dir, name))
	if err == nil {
		f.all = int64(len(data))
		f.st, f.count, f.size, err = parseManifest(data, number)
	}
	if err != nil {
		f.err = fmt.Errorf("read %s: %w", path.Join(dir, name), err)
		f.data = data
	}
	return f
}

// compared says what is damaged of the file, which may be so many edits behind
// the better one of the two after a crash. The names of both are durable before
// a second edit is written.
func (f manifestFile) compared(best manifestFile, behind uint64) []Damage {
	switch {
	case isNotExist(f.err) && best.count == 1:
		return nil
	case isNotExist(f.err):
		return []Damage{{f.name, "the file is missing"}}
	case f.err != nil:
		return []Damage{{f.name, f.err.Error()}}
	case f.count+behind < best.count:
		return []Damage{{f.name, fmt.Sprintf("it ends after %d edits of %d", f.count, best.count)}}
	}
	return nil
}

// newestManifest is the highest number of a manifest among names, 0 of none.
func newestManifest(names []string) uint64 {
	newest := uint64(0)
	for _, name := range names {
		if digits, ok := strings.CutPrefix(strings.TrimSuffix(name, copySuffix), manifestPrefix); ok {
			if n, err := strconv.ParseUint(digits, 10, 64); err == nil {
				newest = max(newest, n)
			}
		}
	}
	return newest
}

// stale reports whether another state was published since m was read.
func (m *manifest) stale() (bool, error) {
	if m.unchanged() {
		return false, nil
	}
	now, _, err := readManifest(m.fs, m.dir)
	return err == nil && (now.number != m.number || now.count != m.count), err
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
	// A torn tail has nothing readable behind it, and lacks its end, or sectors
	// that read as zeros; JSON has no zeros. Damage is neither.
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
		(uint64(binary.LittleEndian.Uint32(rest[4:])) == uint64(len(rest)-editHeader) || json.Valid(rest[editHeader:])) {
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

func editChecksum(store [16]byte, number, place uint64, payload []byte) uint32 {
	var id [32]byte
	copy(id[:], store[:])
	binary.LittleEndian.PutUint64(id[16:], number)
	binary.LittleEndian.PutUint64(id[24:], place)
	return crc32.Update(crc32.Checksum(id[:], castagnoli), castagnoli, payload)
}

func appendEdit(dst []byte, store [16]byte, number, place uint64, e *edit) ([]byte, error) {
	payload, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	dst = append(dst, editMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.LittleEndian.AppendUint32(dst, editChecksum(store, number, place, payload))
	return append(dst, payload...), nil
}

// commit makes e durable and returns the state after it. On failure the
// published state is what it was, or, if only the file knows, what e makes of
// it: the next commit writes a new file from the state in memory, which decides.
func (m *manifest) commit(st *state, e *edit) (*state, error) {
	next, err := st.apply(e)
	if err != nil {
		return nil, err
	}
	if m.file == nil || m.size > 2*m.base+rewriteBytes {
		return next, m.rewrite(next)
	}
	frame, err := appendEdit(nil, st.store, m.number, m.count, e)
	if err != nil {
		return nil, err
	}
	_, err = m.file.Write(frame)
	if err == nil && !seeded.On("edit_not_synced") {
		err = m.file.Sync()
	}
	if err == nil && m.second != nil {
		if err := m.appendCopy(frame); err != nil {
			// The first file has the edit, durably: the next process takes it,
			// unless this one writes a new file before.
			_ = m.second.Truncate(m.size)
			m.abandon()
			return nil, fmt.Errorf("append to %s%s: %w", manifestName(m.number), copySuffix, err)
		}
	}
	if err != nil {
		// Half an edit may stand at the end of the file, or a whole one that
		// is not durable. The file is given up, never appended to again. What
		// can be read of it must not be taken for published by the next process.
		_ = m.file.Truncate(m.size)
		m.abandon()
		return nil, fmt.Errorf("append to %s: %w", manifestName(m.number), err)
	}
	m.count++
	m.size += int64(len(frame))
	return next, nil
}

// appendCopy adds an edit to the copy, when the first file has it durably: so
// the copy is never ahead, but for damage to the first.
func (m *manifest) appendCopy(frame []byte) error {
	_, err := m.second.Write(frame)
	if err == nil && !seeded.On("copy_not_synced") {
		err = m.second.Sync()
	}
	return err
}

func (m *manifest) abandon() {
	for _, f := range []*vfs.File{&m.file, &m.second} {
		if *f != nil {
			_ = (*f).Close() // already failed; its content is decided by the next rewrite
			*f = nil
		}
	}
}

// encodeManifest is a manifest that holds st and nothing else.
func encodeManifest(st *state, number uint64) ([]byte, error) {
	data := append([]byte(manifestMagicOf(st.format)), st.store[:]...)
	data = binary.LittleEndian.AppendUint64(data, number)
	data = binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
	return appendEdit(data, st.store, number, 0, st.whole())
}

// rewrite begins the next file with the whole of st.
func (m *manifest) rewrite(st *state) error {
	number := m.number + 1
	data, err := encodeManifest(st, number)
	if err != nil {
		return err
	}
	name := path.Join(m.dir, manifestName(number))
	var f, second vfs.File
	if f, err = m.write(name, data); err == nil && st.format >= 2 {
		second, err = m.write(name+copySuffix, data)
	}
	if err == nil && !seeded.On("manifest_name_not_synced") {
		err = m.fs.SyncDir(m.dir)
	}
	if err != nil {
		for _, f := range []vfs.File{f, second} {
			if f != nil {
				_ = f.Close()
			}
		}
		// The name may exist without being durable; its number is not used again.
		m.number = number
		m.abandon()
		return fmt.Errorf("write %s: %w", name, err)
	}
	old := m.kept
	m.abandon()
	m.file, m.second, m.number, m.kept, m.count = f, second, number, number, 1
	m.size, m.base = int64(len(data)), int64(len(data))
	for ; 0 < old && old < number; old++ {
		// A leftover does no harm: the highest number counts.
		_ = m.fs.Remove(path.Join(m.dir, manifestName(old)))
		_ = m.fs.Remove(path.Join(m.dir, manifestName(old)+copySuffix))
	}
	return nil
}

// write makes a file that has its name when its content is durable. The caller
// makes the name durable.
func (m *manifest) write(name string, data []byte) (vfs.File, error) {
	temp := name + ".tmp"
	if err := m.fs.Remove(temp); err != nil {
		return nil, err
	}
	f, err := m.fs.Create(temp)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(data)
	if err == nil && !seeded.On("synced_after_rename") {
		err = f.Sync()
	}
	if err == nil {
		err = m.fs.Rename(temp, name)
	}
	if err == nil && seeded.On("synced_after_rename") {
		err = f.Sync()
	}
	if err != nil {
		_ = f.Close()
		_ = m.fs.Remove(temp)
		return nil, err
	}
	return f, nil
}

func (m *manifest) close() error {
	var errs []error
	for _, f := range []*vfs.File{&m.file, &m.second} {
		if *f != nil {
			errs = append(errs, (*f).Close())
			*f = nil
		}
	}
	return errors.Join(errs...)
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
