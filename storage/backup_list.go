package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"path"
	"slices"
	"syscall"
	"time"

	"github.com/cespare/xxhash/v2"

	"wend/storage/vfs"
)

// BackupList is the file BACKUP: a line of magic and checksum, then this in
// JSON. It is written when every file that it lists is durable.
//
//	wendBAK1 1f2e3d4c      CRC32C of everything behind this line
//	{"store": …}
type BackupList struct {
	Store   string       `json:"store"` // id
	Format  int          `json:"format"`
	LSN     uint64       `json:"lsn"`   // of the newest batch in it: all before are in it, too
	Epoch   uint64       `json:"epoch"` // counts the changes that are not batches
	Made    time.Time    `json:"made"`
	Expires time.Time    `json:"expires"`
	Events  int64        `json:"events"`
	Files   []BackupFile `json:"files"`

	Restored []RestoreMark `json:"restored,omitempty"` // the restores that led to the store
}

// RestoreMark tells of a restore. The store goes on from what was in the backup,
// and so may another one: the two are told apart by their marks.
type RestoreMark struct {
	ID    string `json:"id"`
	LSN   uint64 `json:"lsn"`   // of the backup, ...
	Epoch uint64 `json:"epoch"` // and its epoch
}

// leadsTo reports whether a store to which these restores led was once as the
// backup says.
func (l *BackupList) leadsTo(marks []RestoreMark) bool {
	known := len(l.Restored)
	if known > len(marks) || !slices.Equal(l.Restored, marks[:known]) {
		return false
	}
	return known == len(marks) || l.LSN <= marks[known].LSN && l.Epoch <= marks[known].Epoch
}

// BackupFile is a file of a backup.
type BackupFile struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`

	// SHA256 of all of it, in hexadecimal. A CRC32C would not do for segments:
	// their pages end in their own, and CRCs are linear, so two segments of one
	// number and equal lengths have the same.
	SHA256 string `json:"sha256"`
}

const (
	backupName  = "BACKUP"
	backupMagic = "wendBAK1"
	backupLine  = len(backupMagic) + 10 // of magic and checksum
)

func checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

func (l *BackupList) encode() []byte {
	text, err := json.MarshalIndent(l, "", " ")
	if err != nil {
		panic(fmt.Sprintf("storage: a list that JSON cannot hold: %v", err))
	}
	text = append(text, '\n')
	return append(fmt.Appendf(nil, "%s %08x\n", backupMagic, checksum(text)), text...)
}

// file finds a file of the list, which may be nil.
func (l *BackupList) file(name string) *BackupFile {
	if l == nil {
		return nil
	}
	if i := slices.IndexFunc(l.Files, func(f BackupFile) bool { return f.Name == name }); i >= 0 {
		return &l.Files[i]
	}
	return nil
}

// manifest is the number of the list's manifest, 0 of no list.
func (l *BackupList) manifest() uint64 {
	if l == nil {
		return 0
	}
	names := make([]string, len(l.Files))
	for i, f := range l.Files {
		names[i] = f.Name
	}
	return newestManifest(names)
}

// ReadBackup reads what a backup says of itself. It wraps ErrNotFound where
// there is none, or none that came to its end.
func ReadBackup(fsys vfs.FS, dir string) (BackupList, error) {
	data, err := vfs.ReadFile(fsys, path.Join(dir, backupName))
	if isNotExist(err) {
		return BackupList{}, fmt.Errorf("%w: %s holds no complete backup", ErrNotFound, dir)
	}
	if err != nil {
		return BackupList{}, err
	}
	l, err := parseBackup(data)
	if err != nil {
		return BackupList{}, fmt.Errorf("read %s: %w", path.Join(dir, backupName), err)
	}
	return *l, nil
}

func parseBackup(data []byte) (*BackupList, error) {
	if len(data) < backupLine {
		return nil, corrupt("it ends early")
	}
	head, text := string(data[:backupLine]), data[backupLine:]
	magic := head[:len(backupMagic)]
	if head != fmt.Sprintf("%s %08x\n", magic, checksum(text)) {
		return nil, corrupt("checksum mismatch")
	}
	l := &BackupList{}
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	err := strict.Decode(l)
	switch {
	case newerMagic([]byte(magic), backupMagic), err != nil && json.Unmarshal(text, l) == nil:
		return nil, fmt.Errorf("%w: a backup that this release cannot read; use the release that made it, or a later one", ErrNewer)
	case magic != backupMagic:
		return nil, corrupt("begins with %q", magic)
	case err != nil:
		return nil, corrupt("%v", err)
	}
	for _, f := range l.Files {
		if f.Name != path.Base(f.Name) || f.Name == "." || f.Name == ".." {
			return nil, corrupt("it lists a file %q", f.Name)
		}
	}
	return l, nil
}

// BackupReport is the outcome of verifying a backup.
type BackupReport struct {
	BackupList
	Bytes   int64    // read
	Damaged []Damage // empty: everything is as it was written
}

// VerifyBackup reads every file of a backup and compares it with the list, and
// the list with the manifest. Its error says that it could not, or that there
// is no complete backup.
func VerifyBackup(ctx context.Context, fsys vfs.FS, dir string) (BackupReport, error) {
	l, err := ReadBackup(fsys, dir)
	if err != nil {
		return BackupReport{}, err
	}
	report := BackupReport{BackupList: l}
	damaged := func(name string, err error) { report.Damaged = append(report.Damaged, Damage{name, err.Error()}) }
	for _, want := range l.Files {
		f, err := fsys.Open(path.Join(dir, want.Name))
		if err == nil {
			err = verifyFile(ctx, f, want)
			_ = f.Close() // only read from
		}
		if ctx.Err() != nil {
			return report, ctx.Err()
		}
		if err != nil {
			damaged(want.Name, err)
		}
		report.Bytes += want.Bytes
	}
	name := manifestName(l.manifest())
	data, err := vfs.ReadFile(fsys, path.Join(dir, name))
	if err != nil {
		if !isNotExist(err) { // else it is listed, and told above; or the list has none
			damaged(name, err)
		}
		return report, nil
	}
	st, _, _, err := parseManifest(data, l.manifest())
	switch {
	case errors.Is(err, ErrNewer):
		return report, err
	case err != nil:
		damaged(name, err)
		return report, nil
	case fmt.Sprintf("%x", st.store) != l.Store:
		damaged(name, corrupt("it is of store %x, the list of %s", st.store, l.Store))
	}
	for _, r := range st.segments {
		if f := l.file(r.file()); f == nil || f.Bytes != r.Size {
			damaged(r.file(), corrupt("the list has it otherwise than the manifest"))
		}
	}
	return report, nil
}

// FindBackups lists the backups in a directory: itself, or the directories in
// it. Those that cannot be read are named with the reason.
func FindBackups(fsys vfs.FS, dir string) (found map[string]BackupList, unreadable map[string]error, err error) {
	found, unreadable = map[string]BackupList{}, map[string]error{}
	look := func(at string) bool {
		l, err := ReadBackup(fsys, at)
		switch {
		case err == nil:
			found[at] = l
		case errors.Is(err, ErrNotFound):
			names, e := fsys.ReadDir(at)
			switch {
			case e == nil && !slices.Contains(names, backupName+tempSuffix):
				return false
			case e == nil:
				e = errors.New("it was begun and did not come to its end")
			}
			unreadable[at] = e
		default:
			unreadable[at] = err
		}
		return true
	}
	names, err := fsys.ReadDir(dir)
	if err != nil || look(dir) {
		return found, unreadable, err
	}
	for _, name := range names {
		at := path.Join(dir, name)
		_, err := fsys.ReadDir(at)
		switch {
		case err == nil:
			look(at)
		case !errors.Is(err, syscall.ENOTDIR):
			unreadable[at] = err
		}
	}
	return found, unreadable, nil
}

// copyBytes is how much is read of a file at once.
const copyBytes = 1 << 20

// eachPart reads a file of a size in parts.
func eachPart(ctx context.Context, r io.ReaderAt, size int64, part func([]byte) error) error {
	buffer := make([]byte, min(copyBytes, max(size, 1)))
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.ReadAt(buffer[:min(int64(len(buffer)), size-at)], at)
		if n > 0 {
			if err := part(buffer[:n]); err != nil {
				return err
			}
			at += int64(n)
		}
		switch {
		case err == io.EOF && at < size:
			return corrupt("it ends after %d of %d bytes", at, size)
		case err != nil && err != io.EOF:
			return err
		}
	}
	return nil
}

// sums are the checksums of a file.
type sums struct {
	sha hash.Hash
	crc uint32
	xxh *xxhash.Digest
}

func newSums() *sums { return &sums{sha: sha256.New(), xxh: xxhash.New()} }

func (s *sums) add(p []byte) {
	s.sha.Write(p) // never fails, says its documentation
	_, _ = s.xxh.Write(p)
	s.crc = crc32.Update(s.crc, castagnoli, p)
}

func (s *sums) file(name string, size int64) BackupFile {
	return BackupFile{name, size, hex.EncodeToString(s.sha.Sum(nil))}
}

// sumFile reads a file whole.
func sumFile(ctx context.Context, r io.ReaderAt, size int64) (*sums, error) {
	s := newSums()
	err := eachPart(ctx, r, size, func(p []byte) error {
		s.add(p)
		return nil
	})
	return s, err
}

// verifyFile compares an open file with its entry in a list.
func verifyFile(ctx context.Context, f vfs.File, want BackupFile) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	if size != want.Bytes {
		return corrupt("it has %d bytes, it had %d", size, want.Bytes)
	}
	sum, err := sumFile(ctx, f, size)
	if err != nil {
		return err
	}
	if sum.file(want.Name, size) != want {
		return corrupt("checksum mismatch")
	}
	return nil
}

// copyFile copies an open file to a name, verified and durable; the name is
// there only when it is complete. The directory is the caller's to sync.
func copyFile(ctx context.Context, fsys vfs.FS, from io.ReaderAt, name string, want BackupFile) error {
	err := writing(fsys, name, func(f vfs.File) error {
		sum := newSums()
		err := eachPart(ctx, from, want.Bytes, func(p []byte) error {
			sum.add(p)
			_, err := f.Write(p)
			return err
		})
		if err == nil && sum.file(want.Name, want.Bytes) != want {
			err = corrupt("checksum mismatch")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("copy %s: %w", want.Name, err)
	}
	return nil
}
