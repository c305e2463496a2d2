package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"wend/internal/seeded"
)

// Scrubbing
//
// A page that nothing asks for can be damaged for months without anybody's
// noticing, until the sound copies are gone as well. So the background reads
// every segment whole once a week, one after the other, and sets aside what is
// not as it was written. Between two it pauses, so that it takes a twentieth of
// the disk's time at most.
const (
	scrubEvery = 7 * 24 * time.Hour
	scrubShare = 20          // of the time that passes, it reads for one part in so many
	scrubAfter = time.Minute // not while a store is being opened, nor in a command that is soon over
)

// scrubbing is what this process has read whole.
type scrubbing struct {
	read map[uint64]time.Duration // segments, and the uptime at which each was
	next time.Duration            // nothing is read before
}

// ScrubStep reads a segment whole, if it is time to, and reports whether it did.
// It chooses the one that was not read for the longest time. Damage is set
// aside, see SetAside; the error says that a segment could not be read.
func (s *Store) ScrubStep(ctx context.Context) (worked bool, err error) {
	begun := s.opt.Uptime()
	f := s.toScrub(begun)
	if f == nil {
		return false, nil
	}
	err = f.verify(ctx)
	if seeded.On("scrub_believes") && errors.Is(err, ErrCorrupt) {
		err = nil
	}
	id := f.record.ID
	f.release()
	if s.SetAside(err) {
		err = nil
	}
	done := s.opt.Uptime()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scrubbing.read[id] = done // also where it failed: the others have their turn first
	s.scrubbing.next = done + (scrubShare-1)*(done-begun)
	if err != nil {
		return true, fmt.Errorf("scrub: %w", err)
	}
	return true, nil
}

// toScrub holds the segment whose turn it is; nil if there is none yet.
func (s *Store) toScrub(now time.Duration) (chosen *segmentFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	if s.scrubbing.read == nil {
		s.scrubbing = scrubbing{map[uint64]time.Duration{}, now + scrubAfter}
	}
	if now < s.scrubbing.next {
		return nil
	}
	for id := range s.scrubbing.read {
		if s.segments[id] == nil {
			delete(s.scrubbing.read, id)
		}
	}
	var last time.Duration
	for id, f := range s.segments {
		read, ever := s.scrubbing.read[id]
		switch {
		case ever && now-read < scrubEvery:
			continue
		case !ever:
			read = -1
		}
		if chosen == nil || read < last || read == last && id < chosen.record.ID {
			chosen, last = f, read
		}
	}
	if chosen != nil {
		chosen.retain() // compaction must not remove what is being read
	}
	return chosen
}

// verify compares the bytes of a segment with its checksums in the manifest.
func (f *segmentFile) verify(ctx context.Context) error {
	sum, hash, err := wholeChecksum(cancelled{ctx, f.seg.r}, f.record.Size)
	if err != nil {
		return f.seg.damaged(fmt.Errorf("read segment %s: %w", f.record.file(), err))
	}
	if !f.record.is(sum, hash) {
		return f.seg.damaged(fmt.Errorf("segment %s: %w", f.record.file(), corrupt("checksum and hash of the file are %08x and %016x, the manifest has %08x and %016x", sum, hash, f.record.Checksum, f.record.Hash)))
	}
	return nil
}

// cancelled is a file that cannot be read any more when ctx has ended.
type cancelled struct {
	ctx context.Context
	io.ReaderAt
}

// ReadAt fails with the error of ctx when that has ended.
func (c cancelled) ReadAt(p []byte, off int64) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.ReaderAt.ReadAt(p, off)
}
