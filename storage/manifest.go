package storage

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"

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

	// editMost is what one edit may take, the whole state among them: its length
	// has 32 bits, and every opening reads it into memory.
	editMost = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

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

	unsure    bool // an edit failed that the next process may find all the same: the next file decides
	unwritten bool // edits change the state only: a repair writes all of it at once

	store [16]byte
	read  [2]int64 // bytes of the file and its copy that were read, -1 of one that is missing
	torn  bool     // some of them were no edits

	seen struct { // how far erased has looked
		count uint64
		size  int64
	}
}

func manifestName(number uint64) string { return fmt.Sprintf("%s%06d", manifestPrefix, number) }

// commit makes e durable and returns the state after it. On failure the
// published state is what it was, or, if only the file knows, what e makes of
// it: the next commit writes a new file from the state in memory, which decides.
func (m *manifest) commit(st *state, e *edit) (*state, error) {
	next, err := st.apply(e)
	if err != nil || m.unwritten {
		return next, err
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
			m.unsure = true
			return nil, fmt.Errorf("append to %s%s: %w", manifestName(m.number), copySuffix, err)
		}
	}
	if err != nil {
		// Half an edit may stand at the end of the file, or a whole one that
		// is not durable. The file is given up, never appended to again. What
		// can be read of it must not be taken for published by the next process.
		_ = m.file.Truncate(m.size)
		m.abandon()
		m.unsure = true
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
		m.unsure = true
		return fmt.Errorf("write %s: %w", name, err)
	}
	old := m.kept
	m.abandon()
	m.file, m.second, m.number, m.kept, m.count = f, second, number, number, 1
	m.unsure = false
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

// encodeManifest is a manifest that holds st and nothing else.
func encodeManifest(st *state, number uint64) ([]byte, error) {
	data := append([]byte(manifestMagicOf(st.format)), st.store[:]...)
	data = binary.LittleEndian.AppendUint64(data, number)
	data = binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
	return appendEdit(data, st.store, number, 0, st.whole())
}

func appendEdit(dst []byte, store [16]byte, number, place uint64, e *edit) ([]byte, error) {
	payload, err := json.Marshal(e)
	if err == nil {
		err = editFits(len(payload))
	}
	if err != nil {
		return nil, err
	}
	dst = append(dst, editMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.LittleEndian.AppendUint32(dst, editChecksum(store, number, place, payload))
	return append(dst, payload...), nil
}

// editFits is an error if an edit of so many bytes is not to be written.
func editFits(bytes int) error {
	if bytes > editMost {
		return fmt.Errorf("the manifest would have an edit of %d bytes, the limit is %d; nothing was changed: fewer links, definitions or segments (`wend compact`) make it smaller", bytes, editMost)
	}
	return nil
}

func editChecksum(store [16]byte, number, place uint64, payload []byte) uint32 {
	var id [32]byte
	copy(id[:], store[:])
	binary.LittleEndian.PutUint64(id[16:], number)
	binary.LittleEndian.PutUint64(id[24:], place)
	return crc32.Update(crc32.Checksum(id[:], castagnoli), castagnoli, payload)
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
