package query

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"wend/event"
)

// Nearest returns up to n of the candidates that word may be a misspelling of,
// the likeliest first. Candidates are names with how often they occur
// ([]event.Name) or plain texts, and among equally near ones the more frequent
// is likelier. A candidate that takes more than a third of the word's letters
// to reach, or more than three changes, is none; letters' case is no change. A candidate
// that the word begins or ends is one, after the others.
func Nearest[C event.Name | string](word string, candidates []C, n int) []string {
	type near struct {
		text     string
		distance int
		count    int64
	}
	var found []near
	folded := []rune(strings.ToLower(word))
	limit := min(len(folded)/3, 3)
	for i := range candidates {
		text, count := nameAndCount(candidates[i])
		if text == "" || text == word || abs(utf8.RuneCountInString(text)-len(folded)) > limit+affixMax {
			continue
		}
		other := []rune(strings.ToLower(text))
		switch d := distance(folded, other, limit); {
		case d <= limit:
			found = append(found, near{text, d, count})
		case affix(folded, other):
			found = append(found, near{text, limit + 1, count}) // near, but less so than a misspelling
		}
	}
	slices.SortFunc(found, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(b.count, a.count), cmp.Compare(a.text, b.text))
	})
	var texts []string
	for _, f := range found {
		if len(texts) < n && !slices.Contains(texts, f.text) {
			texts = append(texts, f.text)
		}
	}
	return texts
}

func nameAndCount[C event.Name | string](candidate C) (string, int64) {
	switch c := any(candidate).(type) {
	case event.Name:
		return c.Text, c.Count
	case string:
		return c, 0
	}
	panic("unreachable")
}

// affixMax is how many letters more a candidate may have that begins or ends
// with the whole word: `cart` for `add_to_cart`.
const affixMax = 8

func affix(word, longer []rune) bool {
	return len(word) >= 3 && len(longer) > len(word) && len(longer)-len(word) <= affixMax &&
		(slices.Equal(longer[:len(word)], word) || slices.Equal(longer[len(longer)-len(word):], word))
}

// distance counts the letters to insert, leave out, replace, or swap with their
// neighbour (the optimal string alignment distance). Results above limit only
// mean "more".
func distance(a, b []rune, limit int) int {
	if abs(len(a)-len(b)) > limit {
		return limit + 1
	}
	older, old, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range old {
		old[j] = j
	}
	for i := range a {
		row[0] = i + 1
		least := row[0]
		for j := range b {
			d := old[j]
			if a[i] != b[j] {
				d = 1 + min(d, old[j+1], row[j])
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, older[j-1]+1)
			}
			row[j+1] = d
			least = min(least, d)
		}
		if least > limit+1 {
			return limit + 1
		}
		older, old, row = old, row, older
	}
	return old[len(b)]
}

func abs(i int) int {
	if i < 0 {
		return -i
	}
	return i
}
