package storage

// pace keeps what is appended from coming faster than it is sorted. Who asks for
// a snapshot has everything sorted that came since the last one. If as much came
// meanwhile, the next would find as much again, and with more appends than
// processors queries would wait for their snapshots ever longer: while n rows are
// sorted, n/2 more are taken in, and the rest wait.
type pace struct {
	taken  int64         // rows appended since the store was opened
	most   int64         // what taken may reach while sorted is not closed
	sorted chan struct{} // nil: nothing is being sorted
}

// paceRows more may always come: to sort them takes some milliseconds.
const paceRows = 50_000

// beginSort says that rows are being sorted until done is called. One sorts at a
// time. The store's mu guards a pace, and beginSort and done take it.
func (s *Store) beginSort(rows int) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pace.most, s.pace.sorted = s.pace.taken+max(int64(rows)/2, paceRows), make(chan struct{})
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.pace.sorted)
		s.pace.sorted = nil
	}
}

// ahead is what an append has to wait for, nil if it need not. The caller holds mu.
func (p *pace) ahead(rows int) <-chan struct{} {
	if p.sorted == nil || p.taken+int64(rows) <= p.most {
		return nil
	}
	return p.sorted
}
