package tile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestCodesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(0, 32).Draw(t, "bits")
		codes := rapid.SliceOfN(rapid.Uint32Range(0, uint32(uint64(1)<<bits-1)), 0, 300).Draw(t, "codes")
		c := NewCodes(codes)
		for i, want := range codes {
			if got := c.At(i); got != want {
				t.Fatalf("At(%d) = %d, want %d (%d planes)", i, got, want, c.Bits)
			}
		}
		if len(codes) == 0 {
			return
		}
		lo := rapid.IntRange(0, len(codes)-1).Draw(t, "lo")
		hi := rapid.IntRange(lo, len(codes)).Draw(t, "hi")
		wide := make([]uint32, hi-lo)
		c.Decode(lo, wide)
		for i, got := range wide {
			if got != codes[lo+i] {
				t.Fatalf("Decode(%d)[%d] = %d, want %d", lo, i, got, codes[lo+i])
			}
		}
		if c.Bits > 8 {
			return
		}
		eight := make([]byte, len(codes))
		for i, code := range codes {
			eight[i] = byte(code)
		}
		if again := NewCodes8(eight); again.Bits != c.Bits || !slices.Equal(again.Words, c.Words) {
			t.Fatalf("of bytes %x, want %x", again.Words, c.Words)
		}
		narrow := make([]byte, hi-lo)
		c.Decode8(lo, narrow)
		for i, got := range narrow {
			if uint32(got) != codes[lo+i] {
				t.Fatalf("Decode8(%d)[%d] = %d, want %d", lo, i, got, codes[lo+i])
			}
		}
	})
}

func TestCutFirsts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(0, 8).Draw(t, "bits")
		most := rapid.IntRange(1, min(12, 64/max(bits, 1))).Draw(t, "most")
		starts := []uint32{0}
		for _, n := range rapid.SliceOfN(rapid.SampledFrom([]uint32{0, 1, 2, 5, 20, 64}), 1, 20).Draw(t, "rows") {
			starts = append(starts, starts[len(starts)-1]+n)
		}
		rows := int(starts[len(starts)-1])
		codes := rapid.SliceOfN(rapid.Uint32Range(0, 1<<bits-1), rows, rows).Draw(t, "codes")
		c := NewCodes(codes)
		cut := make([]uint64, len(starts)-1)
		c.CutFirsts(starts, most, cut)
		for k, got := range cut {
			var want uint64
			for i, code := range codes[starts[k]:min(starts[k]+uint32(most), starts[k+1])] {
				for b := range c.Bits {
					want |= uint64(code>>b&1) << (b*most + i)
				}
			}
			if got != want {
				t.Fatalf("customer %d: %b, want %b (%d planes)", k, got, want, c.Bits)
			}
		}
	})
}

func TestHeldCodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.SampledFrom([]uint32{0, 1, 3, 40, 1 << 20, 1<<32 - 1}).Draw(t, "most")
		held := rapid.SliceOfN(rapid.Uint32Range(0, most), 1, 80).Draw(t, "held")
		var codes []uint32
		var starts []int
		for _, code := range held {
			starts = append(starts, len(codes))
			codes = append(codes, slices.Repeat([]uint32{code}, rapid.SampledFrom([]int{1, 1, 2, 5, 64, 130}).Draw(t, "rows"))...)
		}
		changes := NewBitmap(len(codes))
		for _, row := range starts {
			changes.Set(row)
		}
		if got, want := HeldCodes(held, changes, len(codes)), NewCodes(codes); got.Bits != want.Bits || !slices.Equal(got.Words, want.Words) {
			t.Fatalf("%v planes, %x, want %v, %x", got.Bits, got.Words, want.Bits, want.Words)
		}
	})
}

func TestCodesMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.SampledFrom([]int{0, 1, 3, 4, 5, 6, 7, 20, 32}).Draw(t, "bits")
		code := rapid.Uint32Range(0, uint32(uint64(1)<<bits-1))
		codes := rapid.SliceOfN(code, 0, 200).Draw(t, "codes")
		wanted := rapid.SliceOfN(rapid.OneOf(code, rapid.Uint32()), 0, 4).Draw(t, "wanted")
		dst := NewBitmap(len(codes))
		for i := range dst {
			dst[i] = 0xdeadbeef // what was there goes
		}
		NewCodes(codes).Match(wanted, len(codes), dst)
		matches := 0
		for i, c := range codes {
			want := false
			for _, w := range wanted {
				want = want || c == w
			}
			if dst.Get(i) != want {
				t.Fatalf("row %d with code %d: matched %v against %v", i, c, dst.Get(i), wanted)
			}
			if want {
				matches++
			}
		}
		if dst.Count() != matches {
			t.Fatalf("bits past the last row are set: %x", dst)
		}
	})
}

func randomCodes(n int, values uint32) []uint32 {
	r := rand.New(rand.NewPCG(1, 2))
	codes := make([]uint32, n)
	for i := range codes {
		codes[i] = r.Uint32N(values)
	}
	return codes
}

const benchRows = 44_000 // a tile's

// perRow reports the time a row instead of the time a tile.
func perRow(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/row")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkNewCodes(b *testing.B) {
	for _, values := range []uint32{24, 1000} {
		codes := randomCodes(benchRows, values)
		b.Run(fmt.Sprintf("values=%d", values), func(b *testing.B) {
			for b.Loop() {
				NewCodes(codes)
			}
			perRow(b)
		})
	}
}

func BenchmarkCodesDecode(b *testing.B) {
	c := NewCodes(randomCodes(benchRows, 24))
	wide, narrow := make([]uint32, benchRows), make([]byte, benchRows)
	b.Run("uint32", func(b *testing.B) {
		for b.Loop() {
			c.Decode(0, wide)
		}
		perRow(b)
	})
	b.Run("byte", func(b *testing.B) {
		for b.Loop() {
			c.Decode8(0, narrow)
		}
		perRow(b)
	})
}

func BenchmarkCodesMatch(b *testing.B) {
	for _, values := range []uint32{12, 24, 50, 1000} {
		c := NewCodes(randomCodes(benchRows, values))
		dst := NewBitmap(benchRows)
		for _, wanted := range [][]uint32{{3}, {3, 5, 7}} {
			b.Run(fmt.Sprintf("values=%d/wanted=%d", values, len(wanted)), func(b *testing.B) {
				for b.Loop() {
					c.Match(wanted, benchRows, dst)
				}
				perRow(b)
			})
		}
	}
}
