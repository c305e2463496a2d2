package query

import (
	"slices"
	"testing"
)

func TestSplit(t *testing.T) {
	f := func(script string, whole bool, want ...string) {
		t.Helper()
		got, gotWhole := Split(script)
		if !slices.Equal(got, want) || gotWhole != whole {
			t.Errorf("Split(%q) = %q, %v; want %q, %v", script, got, gotWhole, want, whole)
		}
	}
	f("", true)
	f(" ; ;\n-- nothing here; really\n", true)
	f("show events", false, "show events")
	f("show events; show channels;", true, "show events", " show channels")
	f("funnel 'a;b' -> \"c;\" ; x", false, "funnel 'a;b' -> \"c;\" ", " x")
	f("funnel a -- then; b\n-> b;", true, "funnel a -- then; b\n-> b")
	f("funnel 'it''s; so';", true, "funnel 'it''s; so'")
	f("funnel 'open ; ", false, "funnel 'open ; ")
}
