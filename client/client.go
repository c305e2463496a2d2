// Package client talks to a wend server: the same questions and answers as on
// an open store, over HTTP.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"wend/access"
	"wend/engine"
	"wend/event"
	"wend/query"
	"wend/storage"
)

// Client asks one server.
type Client struct {
	base    string
	token   access.Token
	http    *http.Client
	timeout time.Duration
}

// Options configure a Client.
type Options struct {
	Token access.Token // sent as a bearer token; the zero Token: none
	HTTP  *http.Client // nil: http.DefaultClient

	// Timeout is how long Append waits for the answer to one attempt. 0: a minute.
	Timeout time.Duration
}

// New returns a Client for the server at an address such as http://127.0.0.1:7171.
func New(address string, opt Options) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the address of a server, such as http://127.0.0.1:7171", address)
	}
	c := &Client{base: strings.TrimSuffix(u.Scheme+"://"+u.Host+u.Path, "/"), token: opt.Token, http: opt.HTTP, timeout: opt.Timeout}
	if c.http == nil {
		c.http = http.DefaultClient
	}
	if c.timeout <= 0 {
		c.timeout = timeoutDefault
	}
	return c, nil
}

// Error is a server's refusal that has no place in a statement's text.
type Error struct {
	Status        int    // of HTTP
	Code          string // stable, snake case
	Message, Hint string
	RetryAfter    time.Duration // what the server asks to wait before the same request; 0: it does not say
}

// Error is what the server said, and its hint if it gave one; status and code
// are for programs.
func (e *Error) Error() string {
	if e.Hint != "" {
		return e.Message + "; " + e.Hint
	}
	return e.Message
}

// Mistaken reports whether the request was at fault, and not the server's state.
func (e *Error) Mistaken() bool {
	return e.Status >= 400 && e.Status < 500 && e.Status != http.StatusConflict && e.Status != http.StatusTooManyRequests
}

// apiError is how the server tells what is wrong.
type apiError struct {
	Code, Message, Hint  string
	Line, Column, Length int
}

// do calls the server. body is sent as JSON unless nil; an answer is decoded
// into answer unless that is nil. text is the statement that errors point into.
func (c *Client) do(ctx context.Context, method, path string, body, answer any, text string) error {
	return c.doWith(ctx, method, path, http.Header{}, body, answer, text)
}

// doWith is do with further headers.
func (c *Client) doWith(ctx context.Context, method, path string, header http.Header, body, answer any, text string) error {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		in = bytes.NewReader(b)
		header.Set("Content-Type", "application/json")
	}
	return c.send(ctx, method, path, header, in, answer, text)
}

func (c *Client) send(ctx context.Context, method, path string, header http.Header, body io.Reader, answer any, text string) error {
	res, err := c.ask(ctx, method, path, header, body, text)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if answer == nil {
		return nil
	}
	dec := json.NewDecoder(res.Body)
	dec.UseNumber()
	if err := dec.Decode(answer); err != nil {
		return &cutAnswer{method + " " + c.base + path, err}
	}
	return nil
}

// cutAnswer says that an answer came, but not one that can be read to its end.
type cutAnswer struct {
	request string
	err     error
}

// Error names the request.
func (e *cutAnswer) Error() string { return "read the answer of " + e.request + ": " + e.err.Error() }

// Unwrap leads to why it could not be read.
func (e *cutAnswer) Unwrap() error { return e.err }

// ask returns the server's answer, whose body is the caller's to close, or the
// error that it gave.
func (c *Client) ask(ctx context.Context, method, path string, header http.Header, body io.Reader, text string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header = header
	if token := c.token.Reveal(); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &unreachable{c.base, errors.Unwrap(err)}
	}
	if res.StatusCode >= 400 {
		defer res.Body.Close()
		return nil, serverError(res, text)
	}
	return res, nil
}

// unreachable says that no answer came.
type unreachable struct {
	base string
	err  error
}

// Error asks what most often is wrong.
func (u *unreachable) Error() string {
	if errors.Is(u.err, http.ErrSchemeMismatch) {
		return fmt.Sprintf("ask %s: it answers without encryption; begin the address with http://", u.base)
	}
	return fmt.Sprintf("ask %s: %v; is the server running?", u.base, u.err)
}

// Unwrap leads to the error of the connection.
func (u *unreachable) Unwrap() error { return u.err }

// answerMax bounds what is read of an error answer: who answers may be anybody.
const answerMax = 1 << 20

// serverError turns an error answer into the error that an open store gives.
func serverError(res *http.Response, text string) error {
	var body struct {
		Error  apiError
		Errors []apiError
	}
	seconds, _ := strconv.Atoi(res.Header.Get("Retry-After")) // a date there is none of ours
	wait := time.Duration(seconds) * time.Second
	answer, _ := io.ReadAll(io.LimitReader(res.Body, answerMax)) // cut off, it is no JSON
	err := json.Unmarshal(answer, &body)
	switch {
	case (err != nil || body.Error.Message == "") && bytes.Contains(answer, []byte("HTTP request to an HTTPS server")):
		return &Error{Status: res.StatusCode, Code: "unknown", Message: "the server answers with encryption only; begin the address with https://"}
	case err != nil || body.Error.Message == "":
		return &Error{Status: res.StatusCode, RetryAfter: wait, Code: "unknown", Message: fmt.Sprintf("the server answered %s; is it a wend server?", res.Status)}
	}
	if body.Error.Line == 0 {
		return &Error{Status: res.StatusCode, Code: body.Error.Code, Message: body.Error.Message, Hint: body.Error.Hint, RetryAfter: wait}
	}
	if len(body.Errors) == 0 {
		body.Errors = []apiError{body.Error}
	}
	var mistakes query.Errors
	for _, e := range body.Errors {
		mistakes = append(mistakes, &query.Error{Code: e.Code, Message: e.Message, Hint: e.Hint, Text: text,
			Span: query.Span{Line: e.Line, Column: e.Column, Length: e.Length, Offset: offset(text, e.Line, e.Column)}})
	}
	return mistakes
}

// offset finds the byte that a line and a column in runes stand for.
func offset(text string, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		i := strings.IndexByte(text[at:], '\n')
		if i < 0 {
			return len(text)
		}
		at += i + 1
	}
	for i := range text[at:] {
		if column--; column == 0 {
			return at + i
		}
	}
	return len(text)
}

// Query runs one statement on the server. Of the limits in its options only Time
// can be sent, any other is an error; the server's own hold as well. Progress is
// not told. A parameter that is a time cannot be sent, either: the query can say it.
func (c *Client) Query(ctx context.Context, text string, opts ...engine.QueryOption) (*engine.Result, error) {
	settings := engine.NewQuerySettings(opts...)
	if settings.ReadOnly {
		if err := changesNothing(text); err != nil {
			return nil, err
		}
	}
	req := map[string]any{"query": text}
	header := http.Header{}
	if settings.NoCache {
		header.Set("Cache-Control", "no-cache")
	}
	limits := settings.Limits
	if limits.Time > 0 {
		req["timeout_ms"] = max(limits.Time.Milliseconds(), 1)
	}
	limits.Time, limits.Progress = 0, nil
	if !reflect.ValueOf(limits).IsZero() {
		return nil, errors.New("a server takes only Time of a query's limits: leave out the others, or ask an open store")
	}
	if settings.Lenient {
		req["lenient"] = true
	}
	if len(settings.Params) > 0 {
		params := map[string]any{}
		for name, v := range settings.Params {
			var err error
			if params[name], err = jsonValue(v); err != nil {
				return nil, fmt.Errorf("the parameter $%s %w", name, err)
			}
		}
		req["params"] = params
	}
	var answer resultBody
	if err := c.doWith(ctx, http.MethodPost, "/v1/query", header, req, &answer, text); err != nil {
		return nil, err
	}
	return answer.result()
}

// changesNothing fails as an open store does for a statement that is not to be
// run read-only: a server runs whatever the token allows.
func changesNothing(text string) error {
	statements, err := query.Parse(text)
	if err != nil {
		return err
	}
	for _, s := range statements {
		if s.Query == nil {
			return fmt.Errorf("%.40s: %w", s, storage.ErrReadOnly)
		}
	}
	return nil
}

// jsonValue is a parameter as a server reads it, with its type.
func jsonValue(v event.Value) (any, error) {
	switch v.Type() {
	case event.StringType:
		if !utf8.ValidString(v.Text()) {
			return nil, fmt.Errorf("is %.128q, which is not valid UTF-8", v.Text())
		}
		return v.Text(), nil
	case event.IntegerType:
		return v.Int(), nil
	case event.FloatType:
		if math.IsInf(v.Float(), 0) {
			return nil, errors.New("is not a finite number")
		}
		return json.Number(strconv.FormatFloat(v.Float(), 'e', -1, 64)), nil // 2e+00: 2 would be an integer
	case event.BooleanType:
		return v.Bool(), nil
	case event.TimeType:
		return nil, fmt.Errorf("is a time, which a server would take for a text; write it into the query, without quotes: %s", v.Time())
	}
	return nil, nil
}

// Complete asks the server what may stand at a position. An unreachable server
// completes nothing.
func (c *Client) Complete(ctx context.Context, text string, cursor int) (items []query.Completion, from int) {
	var answer struct {
		From        int
		Completions []query.Completion
	}
	body := map[string]any{"query": text, "position": cursor}
	if err := c.do(ctx, http.MethodPost, "/v1/complete", body, &answer, ""); err != nil {
		return nil, cursor
	}
	return answer.Completions, answer.From
}

// Export writes every event of the server's store as csv or ndjson. partial
// says that damaged data was left out. After an error, what was written is not
// everything.
func (c *Client) Export(ctx context.Context, format string, out io.Writer) (partial bool, err error) {
	media := map[string]string{"csv": "text/csv", "ndjson": "application/x-ndjson"}[format]
	if media == "" {
		return false, fmt.Errorf("export writes csv or ndjson, not %q", format)
	}
	res, err := c.ask(ctx, http.MethodGet, "/v1/export", http.Header{"Accept": {media}}, nil, "")
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	if _, err := io.Copy(out, res.Body); err != nil {
		return false, fmt.Errorf("export %s: %w", c.base, err)
	}
	return res.Header.Get("X-Partial-Result")+res.Trailer.Get("X-Partial-Result") != "", nil
}

// Status returns the status of the server's store.
func (c *Client) Status(ctx context.Context) (storage.Status, error) {
	var answer storage.Status
	err := c.do(ctx, http.MethodGet, "/v1/status", nil, &answer, "")
	return answer, err
}

// Backup makes a backup under a name in the folder that the server keeps them in.
func (c *Client) Backup(ctx context.Context, name string, opt storage.BackupOptions) (storage.Backup, error) {
	var answer storage.Backup
	body := map[string]any{"name": name}
	if opt.Keep > 0 {
		body["keep"] = fmt.Sprintf("%ds", int64(opt.Keep.Seconds()))
	}
	err := c.do(ctx, http.MethodPost, "/v1/backup", body, &answer, "")
	return answer, err
}

// Link says on the server that an identity is a customer's.
func (c *Client) Link(ctx context.Context, from, to string) error {
	return c.do(ctx, http.MethodPost, "/v1/links", map[string]string{"from": from, "to": to}, nil, "")
}

// LinkAll makes several links on the server, all of them or none.
func (c *Client) LinkAll(ctx context.Context, links []storage.Link) error {
	return c.do(ctx, http.MethodPost, "/v1/links", links, nil, "")
}

// Unlink undoes a link on the server.
func (c *Client) Unlink(ctx context.Context, from string) error {
	return c.do(ctx, http.MethodDelete, "/v1/links/"+url.PathEscape(from), nil, nil, "")
}

// Erase makes a customer, and every identity linked to it, disappear.
func (c *Client) Erase(ctx context.Context, customer string, opt storage.EraseOptions) (storage.Receipt, error) {
	var answer storage.Receipt
	body := map[string]any{"customer": customer, "after": opt.After.String()}
	if opt.Lift {
		body["lift"] = true
	}
	err := c.do(ctx, http.MethodPost, "/v1/erase", body, &answer, "")
	return answer, err
}

// Receipt tells how far an erasure is.
func (c *Client) Receipt(ctx context.Context, id string) (storage.Receipt, error) {
	var answer storage.Receipt
	err := c.do(ctx, http.MethodGet, "/v1/erase/"+url.PathEscape(id), nil, &answer, "")
	return answer, err
}

// WaitErased returns the receipt of an erasure when it is done.
func (c *Client) WaitErased(ctx context.Context, id string) (storage.Receipt, error) {
	const look = 200 * time.Millisecond
	for {
		r, err := c.Receipt(ctx, id)
		if err != nil || r.State == "done" {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(look):
		}
	}
}

// Links lists the server's links.
func (c *Client) Links(ctx context.Context) ([]storage.Link, error) {
	var answer struct{ Links []storage.Link }
	err := c.do(ctx, http.MethodGet, "/v1/links", nil, &answer, "")
	return answer.Links, err
}
