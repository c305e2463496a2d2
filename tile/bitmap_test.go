package tile

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawBits draws the same bits as a Bitmap and as a slice.
func drawBits(t *rapid.T, n int) (Bitmap, []bool) {
	b, list := NewBitmap(n), make([]bool, n)
	for _, i := range rapid.SliceOfN(rapid.IntRange(0, max(0, n-1)), 0, n).Draw(t, "set") {
		b.Set(i)
		list[i] = true
	}
	return b, list
}

func TestBitmapSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "n")
		b, list := drawBits(t, n)
		from := rapid.IntRange(0, n).Draw(t, "from")
		end := rapid.IntRange(from, n).Draw(t, "end")
		next, not, last := end, end, -1
		for i := from; i < end; i++ {
			if !list[i] && not == end {
				not = i
			}
			if list[i] && next == end {
				next = i
			}
			if list[i] {
				last = i
			}
		}
		if got := b.Next(from, end); got != next {
			t.Fatalf("Next(%d, %d) = %d, want %d", from, end, got, next)
		}
		if got := b.NextNot(from, end); got != not {
			t.Fatalf("NextNot(%d, %d) = %d, want %d", from, end, got, not)
		}
		if got := b.Last(from, end); got != last {
			t.Fatalf("Last(%d, %d) = %d, want %d", from, end, got, last)
		}
	})
}

func TestBitmapRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "n")
		b, list := drawBits(t, n)
		lo := rapid.IntRange(0, n).Draw(t, "lo")
		hi := rapid.IntRange(0, n).Draw(t, "hi")
		b.SetRange(lo, hi)
		for i := range n {
			if want := list[i] || i >= lo && i < hi; b.Get(i) != want {
				t.Fatalf("SetRange(%d, %d): bit %d is %v", lo, hi, i, b.Get(i))
			}
		}
	})
}

func TestBitmapAlgebra(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 130).Draw(t, "n")
		a, listA := drawBits(t, n)
		b, listB := drawBits(t, n)
		f := func(name string, op func(Bitmap, Bitmap), want func(x, y bool) bool) {
			got := slices.Clone(a)
			op(got, b)
			count := 0
			for i := range n {
				if got.Get(i) != want(listA[i], listB[i]) {
					t.Fatalf("%s: bit %d is %v", name, i, got.Get(i))
				}
				if got.Get(i) {
					count++
				}
			}
			if got.Count() != count {
				t.Fatalf("%s: Count %d, want %d", name, got.Count(), count)
			}
		}
		f("And", Bitmap.And, func(x, y bool) bool { return x && y })
		f("Or", Bitmap.Or, func(x, y bool) bool { return x || y })
		f("AndNot", Bitmap.AndNot, func(x, y bool) bool { return x && !y })
		f("Fill", func(x, _ Bitmap) { x.Fill(n) }, func(bool, bool) bool { return true })
		f("Clear", func(x, _ Bitmap) {
			for i := range n {
				x.Clear(i)
			}
		}, func(bool, bool) bool { return false })
	})
}
