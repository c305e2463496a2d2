package storage

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
)

// FuzzRoaring reads roaring bitmaps of any bytes. What is taken has its members
// in order and below the limit, can be worked with, and is the same when it is
// written and read once more.
func FuzzRoaring(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	sparse, dense, runs := roaring.New(), roaring.New(), roaring.New()
	for range 40 {
		sparse.Add(rng.Uint32N(1 << 18))
	}
	for range 6000 {
		dense.Add(rng.Uint32N(1 << 13))
	}
	runs.AddRange(100, 5000)
	runs.AddRange(1<<16-10, 1<<16+10)
	runs.RunOptimize()
	for _, r := range []*roaring.Bitmap{roaring.New(), sparse, dense, runs, roaring.Or(sparse, runs)} {
		f.Add(uint32(1<<18), appendRoaring(nil, r))
	}
	f.Fuzz(func(t *testing.T, limit uint32, page []byte) {
		limit %= 1 << 20 // a run of few bytes has any number of members
		c := &cursor{b: page}
		r := c.roaring("bitmap", uint64(limit))
		if r == nil {
			if c.err == nil {
				t.Fatal("there is neither a bitmap nor an error")
			}
			return
		}
		members := r.ToArray()
		if !slices.IsSorted(members) || uint64(len(members)) != r.GetCardinality() || len(members) > 0 && members[len(members)-1] >= limit {
			t.Fatalf("%d members, of which it counts %d, below %d: %v", len(members), r.GetCardinality(), limit, members[max(0, len(members)-5):])
		}
		other := roaring.BitmapOf(members...)
		if !roaring.And(r, other).Equals(other) || !roaring.AndNot(other, r).IsEmpty() || !r.Equals(other) {
			t.Fatal("it has other members than it lists")
		}
		again := &cursor{b: appendRoaring(nil, r)}
		if back := again.roaring("bitmap", uint64(limit)); back == nil || !back.Equals(r) {
			t.Fatalf("written and read again it is not the same: %v", again.err)
		}
	})
}
