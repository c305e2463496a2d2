package storage

import (
	crand "crypto/rand"
	"encoding/binary"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"wend/storage/vfs"
)

// Options are a store's surroundings and sizes. The zero value is good: the
// operating system's files and clock, and sizes for ordinary machines.
//
// Nothing else of the outside reaches this package: a test holds its sources
// to that, so that a simulation can own every input.
type Options struct {
	ReadOnly bool                 // take no lock, write nothing, read the last published state
	FS       vfs.FS               // nil: the operating system's
	Clock    func() time.Time     // nil: the system's
	Uptime   func() time.Duration // what has passed, whatever is done to the clock; nil: the system's
	Rand     *rand.Rand           // store and import ids; nil: seeded by the system
	Log      *slog.Logger         // nil: silent

	// Format is the format of a store that is made; 0: FormatVersion. One that
	// exists keeps the format it has.
	Format int

	// Partition is how much time a partition of a store that is made covers:
	// "month", "year", "decade", "century" or "all"; "": what suits its first
	// events. One that has events keeps what it has.
	Partition string

	CacheBytes     int64 // merged tiles and verified pages kept in memory; 0: 256 MiB, below 0: none
	MemtableEvents int   // events in the log before they are written as segments, fewer where they take more than 1 KiB of memory each; 0: 262,144
	SegmentRows    int   // rows of one segment file, roughly; 0: 4,194,304
	ChunkRows      int   // rows of a bulk load kept in memory, at most; 0: 4,194,304
	BlockCustomers int   // customers of one block, roughly; 0: 2,048

	// BallastBytes are reserved on the disk, in a file that is given back when
	// something has to be taken out of a full one; of a small disk at most a
	// twentieth. With it events are refused before the disk is full. 0: none.
	BallastBytes int64

	// AllowNetwork lets a writer open a store on a network file system. What is
	// promised of crashes and of the lock does not hold there.
	AllowNetwork bool

	// Ledger is the file outside the store's directory that tells restored copies
	// of the store what was erased; "": beside the directory, its name with ".erased".
	Ledger string

	// EraseAgain has an older copy of the store that took events since erased by
	// its ledger when a writer opens it; with the erased goes all that came of them
	// since. Without it such a copy is not opened for writing. One that took
	// nothing since is erased either way.
	EraseAgain bool

	// Retention is how long events are kept, by their own time. Older ones
	// disappear from answers within an hour, and then from the disk. 0: for ever;
	// but what a store has dropped before stays dropped.
	Retention time.Duration

	// AcceptDamage has what is damaged set aside however much it is, also what the
	// disk cannot read. Without it a store of which much is missing is only read,
	// and one with a segment that cannot be read at the moment is not opened.
	AcceptDamage bool

	// Background lets a goroutine flush and compact. Without it the owner
	// calls Flush and CompactStep; a full memtable is flushed by the append
	// that fills it either way.
	Background bool

	// segmentsOpen is how many segments a writer keeps open; 0: 256. A reader
	// keeps as many as the system lets it: what it has open stays there when a
	// writer removes it.
	segmentsOpen int

	secret   func([]byte) // fills a key that nobody must guess
	restored bool         // opened by who restores it, before anybody else may
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS{AllowNetwork: o.AllowNetwork}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Uptime == nil {
		begun := time.Now() // it carries what no setting of the clock changes
		o.Uptime = func() time.Duration { return time.Since(begun) }
	}
	if given := o.Rand; given != nil {
		o.secret = func(key []byte) {
			for i := range key {
				key[i] = byte(given.Uint32())
			}
		}
	} else {
		o.secret = func(key []byte) { _, _ = crand.Read(key) } // never fails, says its documentation
	}
	if o.Rand == nil {
		var seed [16]byte
		_, _ = crand.Read(seed[:]) // never fails, says its documentation
		o.Rand = rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:8]), binary.LittleEndian.Uint64(seed[8:])))
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	setDefault(&o.Format, FormatVersion)
	if o.CacheBytes == 0 {
		o.CacheBytes = 256 << 20
	}
	setDefault(&o.MemtableEvents, 256<<10)
	setDefault(&o.SegmentRows, 4<<20)
	setDefault(&o.ChunkRows, 4<<20)
	setDefault(&o.BlockCustomers, 2048)
	setDefault(&o.segmentsOpen, 256)
	if o.ReadOnly {
		o.segmentsOpen = math.MaxInt
	}
	return o
}

// outputsOpen is how many files a merge writes to at once.
func (o *Options) outputsOpen() int { return max(min(o.segmentsOpen/16, 16), 1) }

// thinRows is up to how many rows of a partition wait in memory for more, while
// a merge may still find some.
func (o *Options) thinRows() int64 { return int64(o.SegmentRows) >> 10 }

// thinBytes is what the rows that wait may take in all.
func (o *Options) thinBytes() int64 { return int64(o.ChunkRows) << 4 }

// memtableBytes is what events take of memory before they are written as segments.
func (o *Options) memtableBytes() int64 { return int64(o.MemtableEvents) << 10 }

func setDefault[N int | int64](n *N, value N) {
	if *n <= 0 {
		*n = value
	}
}
