package query

import (
	"slices"
	"strings"
	"testing"

	"wend/event"
)

func TestNearest(t *testing.T) {
	tests := []struct{ word, candidates, want string }{
		{"puchase", "purchase refund", "purchase"},
		{"purchsae", "purchase refund", "purchase"}, // two letters swapped are one change
		{"chekout", "checkout checkout_started", "checkout"},
		{"PURCHASE", "purchase", "purchase"},
		{"purchase", "purchase", ""}, // it is known already, as something else
		{"cart", "add_to_cart", "add_to_cart"},
		{"cart", "carts add_to_cart card", "card carts add_to_cart"},
		{"view", "purchase", ""},
		{"ab", "abc ba", ""}, // two letters are near everything
		{"grösse", "größe große", "größe"},
		{"покпка", "покупка", "покупка"},
		{"", "a", ""},
	}
	for _, test := range tests {
		got := strings.Join(Nearest(test.word, strings.Fields(test.candidates), 3), " ")
		if got != test.want {
			t.Errorf("%q among %q: got %q, want %q", test.word, test.candidates, got, test.want)
		}
	}
}

func TestNearestPrefersTheFrequent(t *testing.T) {
	names := []event.Name{{Text: "plan_a", Count: 3}, {Text: "plan_b", Count: 9}, {Text: "plan_c", Count: 9}, {Text: "plant_x", Count: 99}}
	got := Nearest("plan_x", names, 3)
	if want := []string{"plant_x", "plan_b", "plan_c"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
