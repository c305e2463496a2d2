package storage

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
)

// Maps of names are what edits made of them, one after the other, and those
// before stay as they were.
func TestNameMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 18))
	type version struct {
		got  *nameMap[int]
		want map[string]int
	}
	versions := []version{{}}
	for i := range 300 {
		from := versions[r.IntN(len(versions))]
		e, want := from.got.edit(), map[string]int{}
		maps.Copy(want, from.want)
		for range r.IntN(40) {
			name := fmt.Sprint("c", r.IntN(3000)) // some share a shard
			if r.IntN(3) == 0 {
				e.delete(name)
				delete(want, name)
			} else {
				e.set(name, i)
				want[name] = i
			}
		}
		versions = append(versions, version{e.done(), want})
	}
	var shared, differ int
	for _, v := range versions {
		if all := maps.Collect(v.got.all()); !maps.Equal(all, v.want) || v.got.len() != len(v.want) {
			t.Fatalf("%v of %d, want %v", all, v.got.len(), v.want)
		}
		other := versions[r.IntN(len(versions))]
		since := maps.Collect(v.got.since(other.got))
		for name, value := range v.want {
			if got, ok := v.got.get(name); !ok || got != value {
				t.Fatalf("%s: %d %v, want %d", name, got, ok, value)
			}
			before, ok := other.want[name]
			if _, told := since[name]; (!ok || before != value) && !told {
				t.Fatalf("%s changed from %d to %d and is not told", name, before, value)
			} else if told {
				differ++
			} else {
				shared++
			}
		}
		if _, ok := v.got.get("nobody"); ok {
			t.Fatal("nobody is there")
		}
	}
	if shared == 0 || differ == 0 {
		t.Errorf("%d entries are shared, %d may differ", shared, differ)
	}
}
