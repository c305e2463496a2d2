package storage

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// answer is an Ack as it is kept for a batch token, in memory, in the log and in
// the manifest. A batch may have tens of thousands of rejected events, and
// hardly more than one reason: each stands once, with the rows that it is for.
type answer struct {
	Ack // without Rejected, but in stores of format 1

	Reasons []rejectedRows `json:"reasons,omitempty"` // from format 2 on, in the place of Rejected
}

// rejectedRows is the events of a batch that were rejected for one reason.
type rejectedRows struct {
	Reason string    `json:"reason"`
	Rows   rowRanges `json:"rows"`
}

// reasonsMost is how many different reasons an answer has that is kept: where
// each quotes what was sent, fifty thousand would take megabytes.
const reasonsMost = 256

var furtherReason = fmt.Sprintf("it cannot be stored either; only %d different reasons are told of a batch that has a token", reasonsMost)

// fewReasons replaces, in place, the reasons that are one too many.
func fewReasons(list []Rejection) {
	told := map[string]bool{}
	for i, r := range list {
		if len(told) < reasonsMost {
			told[r.Reason] = true
		} else if !told[r.Reason] {
			list[i].Reason = furtherReason
		}
	}
}

// answerOf is ack as it is kept.
func answerOf(ack Ack) answer { return answer{Ack: ack}.packed() }

// packed returns the answer without its list of rejections. A list that is not
// in the order of rows, which no release writes, stays as it is.
func (a answer) packed() answer {
	if len(a.Rejected) == 0 {
		return a
	}
	before := -1
	for _, r := range a.Rejected {
		if r.Index <= before || r.Index >= batchEvents {
			return a
		}
		before = r.Index
	}
	at := map[string]int{}
	reasons := slices.Clip(a.Reasons)
	for _, r := range a.Rejected {
		i, known := at[r.Reason]
		if !known {
			i = len(reasons)
			at[r.Reason] = i
			reasons = append(reasons, rejectedRows{Reason: r.Reason})
		}
		reasons[i].Rows.add(uint32(r.Index))
	}
	for i := range reasons {
		reasons[i].Rows = slices.Clip(reasons[i].Rows)
	}
	a.Reasons, a.Rejected = reasons, nil
	return a
}

// whole returns the Ack that was given, every rejection of it.
func (a answer) whole() Ack {
	ack := a.Ack
	ack.Rejected = slices.Clip(ack.Rejected)
	for _, r := range a.Reasons {
		for _, rows := range r.Rows {
			for i := rows.first; i <= rows.last; i++ {
				ack.Rejected = append(ack.Rejected, Rejection{int(i), r.Reason})
			}
		}
	}
	slices.SortStableFunc(ack.Rejected, func(a, b Rejection) int { return cmp.Compare(a.Index, b.Index) })
	return ack
}

// inFormat returns the answer as a store of a format has it: the releases of
// format 1 know lists only.
func (a answer) inFormat(format int) answer {
	if format == 1 {
		return answer{Ack: a.whole()}
	}
	return a
}

// size is how many bytes the answer takes at most as JSON in a store of a
// format, and about how many in memory, where a list takes less.
func (a answer) size(format int) int64 {
	const fixed, rejection, reason, rows = 160, 64, 64, 12
	n := int64(fixed)
	for _, r := range a.Rejected {
		n += rejection + textSize(r.Reason)
	}
	for _, r := range a.Reasons {
		if format == 1 {
			n += (rejection + textSize(r.Reason)) * r.Rows.count()
			continue
		}
		n += reason + textSize(r.Reason) + rows*int64(len(r.Rows))
	}
	return n
}

// textSize is the bytes of a text as JSON at most: six for those that may be escaped.
func textSize(s string) int64 {
	n := int64(len(s))
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || strings.IndexByte(`"\<>&`, c) >= 0 {
			n += 5
		}
	}
	return n
}

// rowRanges is rows of a batch, rising. As text they are 0-41,43,50-49999.
type rowRanges []rowRange

type rowRange struct{ first, last uint32 }

// add appends a row that is greater than all before.
func (r *rowRanges) add(row uint32) {
	if k := len(*r) - 1; k >= 0 && (*r)[k].last+1 == row {
		(*r)[k].last = row
		return
	}
	*r = append(*r, rowRange{row, row})
}

// count is how many rows they are.
func (r rowRanges) count() int64 {
	n := int64(0)
	for _, rows := range r {
		n += int64(rows.last-rows.first) + 1
	}
	return n
}

// MarshalText is the ranges as JSON has them.
func (r rowRanges) MarshalText() ([]byte, error) {
	var dst []byte
	for i, rows := range r {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(rows.first), 10)
		if rows.last > rows.first {
			dst = append(dst, '-')
			dst = strconv.AppendUint(dst, uint64(rows.last), 10)
		}
	}
	return dst, nil
}

// UnmarshalText reads what MarshalText writes. It fails on rows that do not
// rise, or that no batch has.
func (r *rowRanges) UnmarshalText(text []byte) error {
	*r = nil
	next := uint64(0)
	for part := range strings.SplitSeq(string(text), ",") {
		from, to, many := strings.Cut(part, "-")
		if !many {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 32)
		if err != nil {
			return fmt.Errorf("rejected rows %.40q: %w", part, err)
		}
		last, err := strconv.ParseUint(to, 10, 32)
		if err != nil {
			return fmt.Errorf("rejected rows %.40q: %w", part, err)
		}
		if first < next || last < first || last >= batchEvents {
			return fmt.Errorf("rejected rows %.40q: they do not rise from %d to at most %d", part, next, batchEvents-1)
		}
		*r = append(*r, rowRange{uint32(first), uint32(last)})
		next = last + 1
	}
	return nil
}

// size is about how many bytes a token takes with its answer in the manifest of
// a store of a format, and in memory at most.
func (t tokenRecord) size(format int) int64 {
	const fixed = 64
	return fixed + textSize(t.Token) + t.Ack.size(format)
}

// inFormat returns the record as the manifest of a store of a format has it.
func (t tokenRecord) inFormat(format int) tokenRecord {
	t.Ack = t.Ack.inFormat(format)
	return t
}
