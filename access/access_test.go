package access

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wend/storage/vfs"
)

var morning = time.Date(2025, 3, 1, 8, 0, 0, 0, time.UTC)

// clock is a time that a test moves.
type clock struct{ time.Time }

func (c *clock) now() time.Time       { return c.Time }
func (c *clock) pass(d time.Duration) { c.Time = c.Add(d) }

func create(t *testing.T, fsys vfs.FS, expires time.Time, scopes ...Scope) (Token, string) {
	t.Helper()
	token, e, err := Create(fsys, "shop", "", scopes, morning, expires)
	if err != nil {
		t.Fatal(err)
	}
	return token, e.ID
}

func TestTokensHoldUntilTheirEnd(t *testing.T) {
	fsys, c := vfs.NewMem(), &clock{morning}
	k, err := Keep(fsys, "shop", "", c.now)
	if err == nil && k.Required() {
		t.Error("a token is required where there never was one")
	}
	long, _ := create(t, fsys, time.Time{}, Query, Ingest)
	short, _ := create(t, fsys, morning.Add(time.Hour), Query)
	doomed, id := create(t, fsys, time.Time{}, Admin)
	f := func(what string, token Token, want error) {
		t.Helper()
		if _, err := k.Grant(token); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	c.pass(time.Second)
	if !k.Required() {
		t.Error("a first token does not close a server that runs")
	}
	g, err := k.Grant(long)
	if err != nil || !g.Has(Query) || !g.Has(Admin, Ingest) || g.Has(Admin, Erase, Export, Metrics) {
		t.Errorf("%+v, %v", g, err)
	}
	f("before its end", short, nil)
	f("unknown", NewToken(), ErrRefused)
	f("none", Token{}, ErrRefused)
	if err := Revoke(fsys, "shop", strings.ToUpper(id), c.Time); err != nil {
		t.Fatal(err)
	}
	c.pass(time.Second)
	f("revoked a second ago", doomed, ErrRefused)
	c.Time = morning.Add(time.Hour - 1)
	f("the last instant", short, nil)
	c.pass(1)
	f("at its end", short, ErrRefused)
	f("without an end", long, nil)
	if err := Revoke(fsys, "shop", "ffffffff", c.Time); !errors.Is(err, ErrNoToken) {
		t.Errorf("revoking a token that is not there: %v", err)
	}

	// The file gone is not the server open.
	if err := fsys.Remove("shop/TOKENS"); err != nil {
		t.Fatal(err)
	}
	c.pass(time.Second)
	f("without the file", long, ErrRefused)
	if !k.Required() {
		t.Error("a server whose tokens are gone answers everybody")
	}
}

func TestTokenFile(t *testing.T) {
	name := t.TempDir() + "/tokens"
	a, b := NewToken(), NewToken()
	c := &clock{morning}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c.pass(time.Second)
	}
	write("# of the dashboard\n" + a.Reveal() + " query, metrics\n\n" + b.Reveal() + "\n")
	k, err := Keep(vfs.OS{}, t.TempDir(), name, c.now)
	if err != nil {
		t.Fatal(err)
	}
	if g, err := k.Grant(a); err != nil || !slices.Equal(g.Scopes, []Scope{Query, Metrics}) {
		t.Errorf("%+v, %v", g, err)
	}
	if g, err := k.Grant(b); err != nil || !slices.Equal(g.Scopes, Scopes) {
		t.Errorf("%+v, %v", g, err)
	}
	if first, err := ReadToken([]byte("# mine\n" + b.Reveal() + " query\n")); err != nil || first.Reveal() != b.Reveal() {
		t.Errorf("a client reads %v", err)
	}
	write(b.Reveal() + " everything\n")
	if _, err := k.Grant(b); err == nil || errors.Is(err, ErrRefused) || strings.Contains(err.Error(), b.Reveal()) {
		t.Errorf("a file that cannot be read: %v", err)
	}
	write(b.Reveal())
	if _, err := k.Grant(a); !errors.Is(err, ErrRefused) {
		t.Errorf("a token that was taken out: %v", err)
	}
	for _, bad := range []string{"", "# nothing\n", "short\n", strings.Repeat("x", 31), strings.Repeat("x", 40) + " wizard"} {
		write(bad)
		if _, err := Keep(vfs.OS{}, t.TempDir(), name, nil); err == nil {
			t.Errorf("a server starts with the token file %q", bad)
		}
	}
}

// unreadable are files that cannot be opened while err is set.
type unreadable struct {
	vfs.FS
	err error
}

func (u *unreadable) Open(name string) (vfs.File, error) {
	if u.err != nil {
		return nil, u.err
	}
	return u.FS.Open(name)
}

// What cannot be read closes a server; for good, if it was there.
func TestFilesThatCannotBeRead(t *testing.T) {
	fsys, c := &unreadable{FS: vfs.NewMem()}, &clock{morning}
	k, err := Keep(fsys, "shop", "", c.now)
	if err != nil {
		t.Fatal(err)
	}
	f := func(what string, want bool) {
		t.Helper()
		c.pass(time.Second)
		if k.Required() != want {
			t.Errorf("%s: a token is required: %v", what, !want)
		}
	}
	fsys.err = syscall.EMFILE
	f("while nobody can tell whether there are tokens", true)
	fsys.err = nil
	f("when there are none after all", false)
	if err := fsys.MkdirAll("shop"); err != nil {
		t.Fatal(err)
	}
	damaged, err := fsys.Create("shop/" + FileName)
	if err != nil {
		t.Fatal(err)
	}
	if err := damaged.Close(); err != nil {
		t.Fatal(err)
	}
	f("while they are damaged", true)
	if err := fsys.Remove("shop/" + FileName); err != nil {
		t.Fatal(err)
	}
	f("when they were moved away", true)
}

// Whatever happens to the file, it never grants what it did not grant before.
func TestEveryFlippedByteOfTheFileCloses(t *testing.T) {
	fsys := vfs.NewMem()
	token, _ := create(t, fsys, morning.Add(time.Hour), Query)
	whole, err := vfs.ReadFile(fsys, "shop/TOKENS")
	if err != nil {
		t.Fatal(err)
	}
	keep := func(content []byte) error {
		damaged := vfs.NewMem()
		if err := damaged.MkdirAll("shop"); err != nil {
			t.Fatal(err)
		}
		f, err := damaged.Create("shop/TOKENS")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(content); err != nil {
			t.Fatal(err)
		}
		k, err := Keep(damaged, "shop", "", (&clock{morning}).now)
		if err == nil {
			_, err = k.Grant(token)
		}
		return err
	}
	if err := keep(whole); err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		for bit := range 8 {
			flipped := bytes.Clone(whole)
			flipped[i] ^= 1 << bit
			if keep(flipped) == nil {
				t.Fatalf("bit %d of byte %d is not missed", bit, i)
			}
		}
		if keep(whole[:i]) == nil {
			t.Fatalf("cut to %d bytes the file is taken for whole", i)
		}
	}
	if keep(append(bytes.Clone(whole), '\n')) == nil {
		t.Error("a byte more is not noticed")
	}
}

func TestTheFileIsItsOwnersAlone(t *testing.T) {
	dir := t.TempDir() + "/shop"
	token, e, err := Create(vfs.OS{}, dir, "till 7", []Scope{Ingest}, morning, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{dir: 0o700, dir + "/" + FileName: 0o600, dir + "/" + LockName: 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	data, err := os.ReadFile(dir + "/" + FileName)
	if err != nil || strings.Contains(string(data), token.Reveal()) || !strings.Contains(string(data), e.ID) {
		t.Errorf("the file holds the token, or nothing of it: %v", err)
	}
}

func TestTheOldestDeadTokenMakesRoom(t *testing.T) {
	fsys := vfs.NewMem()
	if err := fsys.MkdirAll("shop"); err != nil {
		t.Fatal(err)
	}
	err := change(fsys, "shop", func([]Entry) ([]Entry, error) {
		full := make([]Entry, tokensMax)
		for i := range full {
			full[i] = Entry{ID: fmt.Sprint(i), Scopes: []Scope{Query}}
		}
		return full, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Create(fsys, "shop", "", []Scope{Query}, morning, time.Time{}); err == nil {
		t.Error("there is room for more than the most")
	}
	if err := Revoke(fsys, "shop", "7", morning); err != nil {
		t.Fatal(err)
	}
	create(t, fsys, time.Time{}, Query)
	entries, err := List(fsys, "shop")
	if err != nil || len(entries) != tokensMax || slices.ContainsFunc(entries, func(e Entry) bool { return e.ID == "7" }) {
		t.Errorf("%d tokens, %v", len(entries), err)
	}
}

func TestTokensAreNeverShown(t *testing.T) {
	token := NewToken()
	text := token.Reveal()
	if len(text) != len(prefix)+43 || !Contains("x"+text+"y") {
		t.Errorf("a token has %d characters", len(text))
	}
	e := Entry{ID: "1", Digest: digestOf(token)}
	var log bytes.Buffer
	l := slog.New(slog.NewJSONHandler(&log, nil))
	l.Info("x", "token", token, "entry", e, "pointer", &token)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", token, "digest", e.Digest)
	shown := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		shown += fmt.Sprintf(verb+verb+verb, token, &token, struct{ T Token }{token})
	}
	data, err := json.Marshal(map[string]any{"t": token})
	if err != nil {
		t.Error(err)
	}
	shown += string(data) + fmt.Sprint(e, token)
	_, err = ParseToken(text + "!")
	shown += err.Error()
	for _, secret := range []string{text, text[len(prefix):], fmt.Sprintf("%x", text), fmt.Sprint([]byte(text)[:8])} {
		if strings.Contains(shown, strings.Trim(secret, "[]")) {
			t.Errorf("%q shows in %s", secret, shown)
		}
	}
}
