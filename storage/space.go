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
	low     bool // events are refused
	ballast bool // the file is there
}

// spare is how many bytes have to be free, for events to be taken: a share of
// the disk, and room for two merges as large as the largest segment.
func (s *Store) spare(total uint64) uint64 {
	largest := uint64(0)
	for _, r := range s.state().segments {
		largest = max(largest, uint64(r.Size))
	}
	return max(min(total/spareShare, spareMax), 2*largest)
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
	if s.opt.BallastBytes == 0 || s.space.ballast {
		return
	}
	free, total, err := s.fs.Usage(s.dir)
	size := min(s.opt.BallastBytes, int64(total/spareShare)) // of a small disk, little
	if err != nil || size == 0 || free < s.spare(total)+4*uint64(size) {
		return
	}
	name := path.Join(s.dir, ballastName)
	f, err := s.fs.Open(name)
	if err != nil && !isNotExist(err) {
		s.opt.Log.Warn("look at the ballast", "file", name, "error", err)
		return
	}
	if err == nil {
		have, err := f.Size()
		if e := f.Close(); err == nil && e == nil && have == size {
			s.space.ballast = true
			return
		}
	}
	// Another size, or a crash left the name alone: there is nothing to keep.
	err = s.fs.Remove(name)
	if err == nil {
		err = s.reserve(name, size)
	}
	if err != nil {
		_ = s.fs.Remove(name)
		s.opt.Log.Warn("reserve room for erasing on a full disk", "file", name, "bytes", size, "error", err)
		return
	}
	s.space.ballast = true
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
	dropped := s.space.ballast && s.fs.Remove(path.Join(s.dir, ballastName)) == nil
	s.space.ballast = s.space.ballast && !dropped
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
