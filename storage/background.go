package storage

import (
	"context"
	"errors"
	"time"
)

const interval = 200 * time.Millisecond // the loss that durability "interval" allows

// keepSynced syncs the log, however long the background is at something else.
func (s *Store) keepSynced() {
	defer s.background.Done()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	pause := 0 // ticks until another log is tried, where one could not be begun or synced
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			if pause--; pause <= 0 {
				if err := s.relog(); err != nil {
					s.opt.Log.Warn("log acknowledged batches again", "error", err)
					pause = 25
				}
			}
			if err := s.syncWritten(); err != nil {
				s.opt.Log.Warn("sync the log", "error", err)
				pause = 25
			}
		}
	}
}

// work is the background: it flushes, compacts and takes out what is due.
func (s *Store) work() {
	defer s.background.Done()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pause := 0 // ticks until erasures that failed are tried again
	erase := func() {
		if err := s.erase(ctx); err != nil && !errors.Is(err, ErrClosed) && ctx.Err() == nil {
			s.opt.Log.Warn("erase", "error", err)
			pause = 50
		}
	}
	later := 0 // and until retention is
	retain := func() {
		if err := s.retain(ctx); err != nil && !errors.Is(err, ErrClosed) && ctx.Err() == nil {
			s.opt.Log.Warn("retention", "error", err)
			later = 50
		}
	}
	again := 0 // and until a compaction is that waits for room
	compact := func() {
		again = 50
		for ctx.Err() == nil {
			worked, err := s.CompactStep(ctx)
			if err != nil && !errors.Is(err, ErrClosed) && ctx.Err() == nil {
				s.opt.Log.Warn("compact", "error", err)
			}
			if err != nil {
				s.mu.Lock()
				s.lookForRoom() // there may be none, and never will be
				s.mu.Unlock()
			}
			if err != nil || !worked {
				return
			}
		}
	}
	go func() {
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	retain()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			if pause--; pause <= 0 {
				erase()
			}
			if later--; later <= 0 {
				retain()
			}
			if again--; again <= 0 && s.waiting() {
				compact()
			}
			if _, err := s.ScrubStep(ctx); err != nil && ctx.Err() == nil {
				s.opt.Log.Warn("scrub", "error", err)
			}
		case <-s.wake:
			compact()
			if pause <= 0 {
				erase()
			}
		}
	}
}

// nudge wakes the background, if there is one.
func (s *Store) nudge() {
	if !s.opt.Background {
		return
	}
	for _, c := range []chan struct{}{s.wake, s.full} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
