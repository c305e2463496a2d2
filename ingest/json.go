package ingest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// kind is how a value was written.
type kind uint8

const (
	plain      kind = iota // CSV: the text says what it is
	jsonText               // a JSON string, its escapes resolved
	jsonNumber             // as written
	jsonBool               // true or false
	jsonArray              // as written
)

// leaf is one value of an object, at the node of its name.
type leaf struct {
	node *node
	kind kind
	raw  string
}

// node is a name at a place in objects: b in {"a": {"b": 1}} is a child of a.
// Nodes are made once per reader, so a name is looked up and not built.
type node struct {
	name     string // a.b
	children map[string]*node
	next     *node // what followed it in the object before: a guess
	key      string
	written  string // "key": as texts mostly have it; empty if the key needs escapes
	first    *node  // what an object at this node began with
	object   int64  // number of the object in which the key was last seen
	target   int    // for the walker's user: what the value is for
}

// unresolved is a node's target until somebody sets one.
const unresolved = -1 << 31

// walker reads JSON objects, one at a time, into leaves. Nested objects are
// flattened, arrays are kept as text, nulls left out.
type walker struct {
	text   string
	pos    int
	depth  int
	leaves []leaf
	root   *node

	objects   int64 // read so far
	depthMax  int
	nameMax   int // bytes of a flattened name
	valuesMax int // leaves of one object
	nodesMax  int // names seen in all
	nodes     int
}

func newWalker() *walker {
	return &walker{
		root:      &node{target: unresolved},
		depthMax:  64,
		nameMax:   nameBytesMax,
		valuesMax: propertiesMax,
		nodesMax:  16 * propertiesMax,
	}
}

// walk reads the one object that text consists of.
func (w *walker) walk(text string) error {
	w.text, w.pos, w.depth = text, 0, 0
	w.leaves = w.leaves[:0]
	w.space()
	if w.pos == len(text) || text[w.pos] != '{' {
		if w.pos < len(text) && text[w.pos] == '[' {
			return fmt.Errorf("expected a JSON object, got an array")
		}
		return fmt.Errorf("expected a JSON object, got %s", quoteShort(text[w.pos:]))
	}
	if err := w.object(w.root); err != nil {
		return err
	}
	w.space()
	if w.pos < len(text) {
		return fmt.Errorf("text follows the JSON object: %s", quoteShort(text[w.pos:]))
	}
	return nil
}

// object reads an object that begins at pos.
func (w *walker) object(at *node) error {
	if w.depth++; w.depth > w.depthMax {
		return fmt.Errorf("objects and arrays nest deeper than %d", w.depthMax)
	}
	w.objects++
	number := w.objects
	w.pos++
	w.space()
	if w.accept('}') {
		w.depth--
		return nil
	}
	var before *node
	for {
		n, err := w.next(at, before)
		if err != nil {
			return err
		}
		if n.object == number {
			return fmt.Errorf("the key %s stands twice in one object", quoteShort(n.key))
		}
		n.object = number
		before = n
		w.space()
		if err := w.value(n); err != nil {
			return err
		}
		w.space()
		if w.accept(',') {
			w.space()
			continue
		}
		if w.accept('}') {
			w.depth--
			return nil
		}
		return w.unexpected("a comma or }")
	}
}

// next reads a key and its colon and returns its node. Objects of one file
// mostly have the same keys in the same order, so the node that came next last
// time is tried first.
func (w *walker) next(at, before *node) (*node, error) {
	guess := &at.first
	if before != nil {
		guess = &before.next
	}
	if n := *guess; n != nil && n.written != "" && strings.HasPrefix(w.text[w.pos:], n.written) {
		w.pos += len(n.written)
		return n, nil
	}
	key, err := w.key()
	if err != nil {
		return nil, err
	}
	if key == "" {
		return nil, errors.New("a key is empty")
	}
	n := w.child(at, key)
	if n == nil {
		return nil, fmt.Errorf("more than %d different names", w.nodesMax)
	}
	*guess = n
	if w.space(); !w.accept(':') {
		return n, w.unexpected("a colon after a key")
	}
	return n, nil
}

// child returns the node of key.
func (w *walker) child(at *node, key string) *node {
	n := at.children[key]
	if n == nil {
		if w.nodes == w.nodesMax {
			return nil
		}
		w.nodes++
		key = strings.Clone(key)
		name := key
		if at != w.root {
			name = at.name + "." + key
		}
		n = &node{key: key, name: name, target: unresolved}
		if !strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' }) {
			n.written = `"` + key + `":`
		}
		if at.children == nil {
			at.children = map[string]*node{}
		}
		at.children[key] = n
	}
	return n
}

// value reads one value of an object.
func (w *walker) value(n *node) error {
	if w.pos == len(w.text) {
		return w.unexpected("a value")
	}
	l := leaf{node: n}
	start := w.pos
	switch c := w.text[w.pos]; c {
	case '{':
		return w.object(n)
	case '"':
		s, err := w.str()
		if err != nil {
			return err
		}
		l.kind, l.raw = jsonText, s
	case '[':
		if err := w.skipArray(); err != nil {
			return err
		}
		l.kind, l.raw = jsonArray, w.text[start:w.pos]
	case 't', 'f', 'n':
		word := "null"
		if c == 't' {
			word = "true"
		} else if c == 'f' {
			word = "false"
		}
		if !strings.HasPrefix(w.text[w.pos:], word) {
			return w.unexpected("a value")
		}
		w.pos += len(word)
		if c == 'n' {
			return nil
		}
		l.kind, l.raw = jsonBool, word
	default:
		if !w.skipNumber() {
			return w.unexpected("a value")
		}
		l.kind, l.raw = jsonNumber, w.text[start:w.pos]
	}
	if len(n.name) > w.nameMax {
		return fmt.Errorf("the name %s is longer than %d bytes", quoteShort(n.name), w.nameMax)
	}
	if len(w.leaves) == w.valuesMax {
		return fmt.Errorf("more than %d properties", w.valuesMax)
	}
	w.leaves = append(w.leaves, l)
	return nil
}

// skipArray passes over an array and checks it as it would be checked outside
// one.
func (w *walker) skipArray() error { return w.skipList(']', w.skipValue) }

// skipList passes over what stands between a bracket and the one that closes
// it, with commas between.
func (w *walker) skipList(closing byte, skip func() error) error {
	if w.depth++; w.depth > w.depthMax {
		return fmt.Errorf("objects and arrays nest deeper than %d", w.depthMax)
	}
	w.pos++
	w.space()
	if w.accept(closing) {
		w.depth--
		return nil
	}
	for {
		if err := skip(); err != nil {
			return err
		}
		w.space()
		if w.accept(',') {
			w.space()
			continue
		}
		if w.accept(closing) {
			w.depth--
			return nil
		}
		return w.unexpected("a comma or " + string(closing))
	}
}

func (w *walker) skipValue() error {
	if w.pos == len(w.text) {
		return w.unexpected("a value")
	}
	switch w.text[w.pos] {
	case '{':
		return w.skipObject()
	case '[':
		return w.skipArray()
	case '"':
		_, err := w.str()
		return err
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(w.text[w.pos:], word) {
			w.pos += len(word)
			return nil
		}
	}
	if !w.skipNumber() {
		return w.unexpected("a value")
	}
	return nil
}

func (w *walker) skipObject() error {
	seen := map[string]bool{}
	return w.skipList('}', func() error {
		key, err := w.key()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("the key %s stands twice in one object", quoteShort(key))
		}
		seen[key] = true
		w.space()
		if !w.accept(':') {
			return w.unexpected("a colon after a key")
		}
		w.space()
		return w.skipValue()
	})
}

func (w *walker) space() {
	for w.pos < len(w.text) {
		switch w.text[w.pos] {
		case ' ', '\t', '\n', '\r':
			w.pos++
		default:
			return
		}
	}
}

func (w *walker) accept(c byte) bool {
	if w.pos < len(w.text) && w.text[w.pos] == c {
		w.pos++
		return true
	}
	return false
}

func (w *walker) unexpected(want string) error {
	if w.pos >= len(w.text) {
		return fmt.Errorf("the JSON text ends where %s is expected", want)
	}
	return fmt.Errorf("expected %s, got %s at byte %d", want, quoteShort(w.text[w.pos:]), w.pos+1)
}

func (w *walker) key() (string, error) {
	if w.pos == len(w.text) || w.text[w.pos] != '"' {
		return "", w.unexpected("a key in quotes")
	}
	return w.str()
}

// str reads a string. Without escapes it is a slice of the text.
func (w *walker) str() (string, error) {
	start := w.pos + 1
	for i := start; i < len(w.text); i++ {
		switch c := w.text[i]; {
		case c > '"' && c != '\\':
		case c == '"':
			w.pos = i + 1
			return w.text[start:i], nil
		case c == '\\':
			return w.escaped(start, i)
		case c < ' ':
			w.pos = i
			return "", fmt.Errorf("a control character (%#02x) in a string at byte %d must be written as an escape", c, i+1)
		}
	}
	w.pos = len(w.text)
	return "", w.unexpected("the end of a string")
}

// escaped reads on from the first backslash. An unpaired surrogate is refused:
// only U+FFFD could stand for it in UTF-8, and two texts that differ, such as
// names of customers, would become one.
func (w *walker) escaped(start, i int) (string, error) {
	b := append(make([]byte, 0, i-start+32), w.text[start:i]...)
	for i < len(w.text) {
		c := w.text[i]
		switch {
		case c == '"':
			w.pos = i + 1
			return string(b), nil
		case c < ' ':
			w.pos = i
			return "", fmt.Errorf("a control character (%#02x) in a string at byte %d must be written as an escape", c, i+1)
		case c != '\\':
			b = append(b, c)
			i++
			continue
		}
		if i+1 == len(w.text) {
			break
		}
		c = w.text[i+1]
		i += 2
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, ok := hex4(w.text, i)
			if !ok {
				w.pos = i - 2
				return "", w.unexpected("four hexadecimal digits after \\u")
			}
			i += 4
			if utf16.IsSurrogate(r) {
				second, ok := rune(0), false
				if strings.HasPrefix(w.text[i:], `\u`) {
					second, ok = hex4(w.text, i+2)
				}
				if r = utf16.DecodeRune(r, second); !ok || r == utf8.RuneError {
					w.pos = i - 6
					return "", fmt.Errorf("a string is not UTF-8: half of a surrogate pair, %s, at byte %d", w.text[i-6:i], i-5)
				}
				i += 6
			}
			b = utf8.AppendRune(b, r)
		default:
			w.pos = i - 2
			return "", w.unexpected("an escape that JSON knows")
		}
	}
	w.pos = len(w.text)
	return "", w.unexpected("the end of a string")
}

func hex4(s string, i int) (rune, bool) {
	if i+4 > len(s) {
		return 0, false
	}
	n, err := strconv.ParseUint(s[i:i+4], 16, 16)
	return rune(n), err == nil && s[i] != '+' && s[i] != '_'
}

// skipNumber passes over a number as JSON's grammar writes it.
func (w *walker) skipNumber() bool {
	s, i := w.text, w.pos
	if i < len(s) && s[i] == '-' {
		i++
	}
	switch {
	case i < len(s) && s[i] == '0':
		i++
	case i < len(s) && s[i]-'1' <= 8:
		i = skipDigits(s, i)
	default:
		return false
	}
	if i < len(s) && s[i] == '.' {
		from := i + 1
		if i = skipDigits(s, from); i == from {
			return false
		}
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		from := i
		if i = skipDigits(s, from); i == from {
			return false
		}
	}
	w.pos = i
	return true
}

func skipDigits(s string, i int) int {
	for i < len(s) && s[i]-'0' <= 9 {
		i++
	}
	return i
}

// quoteShort quotes a text for a message, cut to what a line has room for.
func quoteShort(s string) string {
	const max = 60
	if len(s) <= max {
		return strconv.Quote(s)
	}
	cut := max
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.Quote(s[:cut]) + "…"
}
