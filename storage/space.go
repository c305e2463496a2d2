package storage

import (
	"errors"
	"fmt"
	"path"

	"wend/internal/seeded"
	"wend/storage/vfs"
)

// ErrFull says that the disk has too little room left for more events.
// Queries go on, and events are taken again when there is room.
var ErrFull = errors.New("the disk is nearly full")

// The ballast is a file that holds nothing. Its room is given back when a disk
// is full, so that there is some for taking things out.
const ballastName = "BALLAST"

// A disk of which less than a twentieth is free, and less than spareMax, takes
// no more events: merges and the manifest go on a while.
const (
	spareShare = 20
	spareMax   = 1 << 30 // on larger disks a twentieth is more than anybody wants to leave
)

// space is what is known of the room on the disk. Guarded by Store.mu.
type space struct {
	low   bool      // events are refused
	merge *Shortage // of the background's compaction; nil: none waits
}

// spare is how many bytes have to be free, for events to be taken: a share of
// the disk, and room for writing two segments anew as large as the largest.
func (s *Store) spare(total uint64) uint64 { return s.spareWith(total, 0) }

// spareWith is spare if there were a segment of so many bytes.
func (s *Store) spareWith(total, size uint64) uint64 {
	for _, r := range s.state().segments {
		size = max(size, uint64(r.Size))
	}
	return max(min(total/spareShare, spareMax), 2*size)
}

// Shortage is a compaction that is not begun, because the disk has too little
// room for what it writes beside the files that it replaces.
type Shortage struct {
	Segments int    `json:"segments"` // to be merged
	Needed   uint64 `json:"needed"`   // bytes that have to be free
	Free     uint64 `json:"free"`     // bytes that were
}

// String tells it in a sentence.
func (w *Shortage) String() string {
	return fmt.Sprintf("merging %d segments needs %d bytes of free room on the disk, and %d are free", w.Segments, w.Needed, w.Free)
}

// shortage says what a merge of runs lacks; nil: nothing. A second copy has to
// fit without a reserve being touched, so that events are taken all the while,
// and afterwards. The caller holds mu.
func (s *Store) shortage(runs []runFiles) (*Shortage, error) {
	free, total, err := s.fs.Usage(s.dir)
	if err != nil {
		return nil, fmt.Errorf("look how much of the disk is free: %w", err)
	}
	w := &Shortage{Free: free}
	bytes, rows := uint64(0), uint64(0)
	for _, r := range runs {
		rows += uint64(r.rows)
		for _, f := range r.files {
			w.Segments++
			bytes += uint64(f.record.Size)
		}
	}
	bytes += bytes / 8 // other prefixes and tie ranks may take a little more
	w.Needed = bytes
	if s.opt.BallastBytes > 0 {
		w.Needed += s.spareWith(total, bytes/max(rows/uint64(s.opt.SegmentRows), 1))
	}
	if free >= w.Needed || seeded.On("merge_without_room") {
		return nil, nil
	}
	return w, nil
}

// waits notes that a merge waits for room, or that none does. The log says it
// once.
func (s *Store) waits(w *Shortage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was := s.space.merge; w != nil && was == nil {
		s.opt.Log.Warn("a compaction waits until there is room on the disk", "segments", w.Segments, "needed", w.Needed, "free", w.Free)
	} else if w == nil && was != nil {
		s.opt.Log.Info("no compaction waits for room on the disk any more")
	}
	s.space.merge = w
}

// waiting reports whether a merge waits for room.
func (s *Store) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.space.merge != nil
}

// room is the error of taking events when there is no room for them. A store
// that refused some takes them again only when a quarter more than that is
// free, so that it does not waver. The caller holds mu.
func (s *Store) room() error {
	if s.opt.BallastBytes == 0 {
		return nil // nobody asked for a reserve: the disk's own error tells
	}
	free, total, err := s.fs.Usage(s.dir)
	if err != nil {
		return fmt.Errorf("look how much of the disk is free: %w", err)
	}
	spare := s.spare(total)
	if s.space.low {
		spare += spare / 4
	}
	low := free < spare && !seeded.On("full_disk_ignored")
	if low != s.space.low {
		if low {
			s.opt.Log.Warn("the disk is nearly full: events are refused until there is room", "free", free, "needed", spare)
		} else {
			s.opt.Log.Info("the disk has room again: events are taken", "free", free)
			s.makeBallast()
		}
		s.space.low = low
	}
	if low {
		return fmt.Errorf("%w: %d bytes are free, and events are refused below %d; free some room, and they are taken again", ErrFull, free, spare)
	}
	return nil
}

// makeBallast reserves the ballast if there is plenty of room for it. A store
// without one works: that it could not be made is no error. The caller holds mu.
func (s *Store) makeBallast() {
	if s.opt.BallastBytes == 0 {
		return
	}
	name := path.Join(s.dir, ballastName)
	have, err := s.ballast()
	if err != nil {
		s.opt.Log.Warn("look at the ballast", "file", name, "error", err)
		return
	}
	free, total, err := s.fs.Usage(s.dir)
	size := min(s.opt.BallastBytes, int64(total/spareShare)) // of a small disk, little
	if err != nil || size == 0 || have == size || free < s.spare(total)+4*uint64(size) {
		return
	}
	// Another size, or a crash left the name alone: there is nothing to keep.
	err = s.fs.Remove(name)
	if err == nil {
		err = s.reserve(name, size)
	}
	if err != nil {
		_ = s.fs.Remove(name)
		s.opt.Log.Warn("reserve room for erasing on a full disk", "file", name, "bytes", size, "error", err)
	}
}

// ballast is the size of the ballast, -1 if there is none: one that another
// process made counts, whatever this one's options say.
func (s *Store) ballast() (int64, error) {
	f, err := s.fs.Open(path.Join(s.dir, ballastName))
	if isNotExist(err) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	size, err := f.Size()
	return size, errors.Join(err, f.Close())
}

// reserve makes a file of size bytes whose room is really taken.
func (s *Store) reserve(name string, size int64) error {
	f, err := s.fs.Create(name)
	if err != nil {
		return err
	}
	if r, ok := f.(vfs.Reserver); ok {
		err = r.Reserve(size)
	} else {
		zeros := make([]byte, min(size, 64<<10))
		for left := size; left > 0 && err == nil; left -= int64(len(zeros)) {
			_, err = f.Write(zeros[:min(left, int64(len(zeros)))])
		}
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// removing does work that takes something out of the store. If the disk is too
// full for what it has to write, it is done again with the ballast's room.
func (s *Store) removing(work func() error) error {
	err := work()
	if !vfs.NoRoom(err) {
		return err
	}
	s.mu.Lock()
	have, e := s.ballast()
	dropped := e == nil && have >= 0 && s.fs.Remove(path.Join(s.dir, ballastName)) == nil
	s.mu.Unlock()
	if !dropped {
		return err
	}
	s.opt.Log.Warn("the disk is full: the ballast is given back to take something out", "error", err)
	if err := work(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeBallast()
	return nil
}
