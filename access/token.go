// Package access keeps the tokens of a store and says what each of them may do.
//
// A token is 256 random bits that its owner is shown once; the store's file
// TOKENS keeps a digest of it, with its scopes and its end. The package knows
// nothing of HTTP: what a call needs, and what a caller without it is told, is
// the server's affair.
package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
)

// hidden stands where a secret would be printed.
const hidden = "[token]"

// Token is a secret that opens a store. However it is printed, logged or
// encoded, it shows only that it is one. Two cannot be compared with ==, whose
// time tells how much of a guess is right: the compiler refuses it.
type Token struct {
	_    [0]func()
	text string
}

// prefix makes tokens easy to find where they should not be.
const prefix = "wend_"

// NewToken makes a token of 256 random bits.
func NewToken() Token {
	var bits [32]byte
	rand.Read(bits[:]) // never fails
	return Token{text: prefix + base64.RawURLEncoding.EncodeToString(bits[:])}
}

// textMin keeps what others made as a token from being guessed: 32 characters
// of any secret generator are 128 bits at least.
const (
	textMin = 32
	textMax = 512
)

var tokenText = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

var errTokenText = fmt.Errorf("a token has %d to %d letters, digits and -._~+/=", textMin, textMax)

// ParseToken reads a token from its text.
func ParseToken(text string) (Token, error) {
	if len(text) < textMin || len(text) > textMax || !tokenText.MatchString(text) {
		return Token{}, errTokenText // without the text: it may be a secret all the same
	}
	return Token{text: text}, nil
}

// ReadToken finds the token of a client in a token file: the first one.
func ReadToken(file []byte) (Token, error) {
	for line := range strings.Lines(string(file)) {
		if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
			return ParseToken(words[0])
		}
	}
	return Token{}, errors.New("there is no token in the file")
}

// shaped finds a token that wend made inside other text.
var shaped = regexp.MustCompile(prefix + `[A-Za-z0-9_-]{43}`)

// Contains reports whether a text holds what looks like a token of wend.
func Contains(text string) bool { return shaped.MatchString(text) }

// Reveal returns the token's text, to be shown once or sent in a header.
func (t Token) Reveal() string { return t.text }

// String hides the token.
func (Token) String() string { return hidden }

// Format hides the token from every verb of fmt.
func (Token) Format(s fmt.State, _ rune) { io.WriteString(s, hidden) }

// LogValue hides the token from logs.
func (Token) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the token from JSON and other encodings.
func (Token) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// digest is what is kept of a token. Like a token it is hidden and cannot be
// compared with ==.
type digest struct {
	_   [0]func()
	sum [sha256.Size]byte
}

func digestOf(t Token) digest { return digest{sum: sha256.Sum256([]byte(t.text))} }

// A digest is hidden where a token is: whoever has one can try tokens against
// it. Only the file of tokens, which MarshalText writes, shows it.
func (digest) String() string { return hidden }

// Format hides it from every verb.
func (digest) Format(s fmt.State, _ rune) { io.WriteString(s, hidden) }

// LogValue hides it from logs.
func (digest) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText is for the file of tokens.
func (d digest) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(d.sum[:])), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d.sum)) {
		return errors.New("a digest has the wrong length")
	}
	_, err := hex.Decode(d.sum[:], text)
	return err
}

// equal is 1 where two digests are of the same token, in the same time for any two.
func (d *digest) equal(other *digest) int {
	return subtle.ConstantTimeCompare(d.sum[:], other.sum[:])
}
