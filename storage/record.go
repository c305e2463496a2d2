package storage

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"wend/event"
)

// encodeRecord is the content of a log record: when the batch came, its token
// and the answer as the store's format has it, and the accepted events.
func encodeRecord(received event.Time, token string, kept answer, b *event.Batch) []byte {
	dst := binary.AppendVarint(nil, int64(received))
	dst = appendText(dst, token)
	text := ""
	if token != "" {
		data, err := json.Marshal(kept)
		if err != nil {
			panic(fmt.Sprintf("storage: an ack that JSON cannot hold: %v", err))
		}
		text = string(data)
	}
	dst = appendText(dst, text)
	return appendBatch(dst, b)
}

// replayBatch puts a logged batch into the memtable. It was validated and
// freed from duplicates when it was written, but a batch that failed and was
// sent again may stand in the log twice. Of each erased customer erased tells
// the last batch that goes without it.
func (s *Store) replayBatch(r walRecord, log uint64, erased map[string]uint64) error {
	d := newDecoder(r.content)
	received := event.Time(d.varint())
	token, text := d.string(), d.string()
	b := d.decodeBatch()
	if d.err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, d.err)
	}
	kept := answer{Ack: Ack{Accepted: int64(b.Len()), LSN: r.lsn}}
	if token != "" {
		if _, again := s.token(token); again {
			return nil
		}
		if err := json.Unmarshal([]byte(text), &kept); err != nil {
			return fmt.Errorf("%w: the answer of batch %q: %v", ErrCorrupt, token, err)
		}
	}
	keep, rejected := s.validate(b, event.MinTime, event.MaxTime)
	if len(rejected) > 0 {
		return fmt.Errorf("%w: event %d: %s", ErrCorrupt, rejected[0].Index, rejected[0].Reason)
	}
	cutoff := s.state().cutoff()
	keep = slices.DeleteFunc(keep, func(i int) bool { return r.lsn <= erased[b.Customer[i]] || b.Time[i] < cutoff })
	fresh, _, err := s.newRows(b, keep, &Ack{})
	if err != nil {
		return err
	}
	s.lsn = max(s.lsn, r.lsn)
	s.remember(&memBatch{lsn: r.lsn, received: received, token: token, visible: true, log: log}, selectRows(b, fresh), kept.packed())
	return nil
}
