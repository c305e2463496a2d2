package soak

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"wend/internal/process"
)

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }

// served is a running `wend serve` that is started again on the same store.
type served struct {
	*process.Server
	t    *testing.T
	dir  string
	args []string // of wend serve, besides its store and address
	env  []string
}

// serve starts a server on a store, which it makes if there is none.
func serve(t *testing.T, dir string, env ...string) *served {
	t.Helper()
	s := &served{t: t, dir: dir, env: env, args: []string{"--backup-dir", dir + ".backups"}}
	if err := os.MkdirAll(dir+".backups", 0o700); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(func() { s.Kill() })
	return s
}

func (s *served) start() {
	s.t.Helper()
	cmd := exec.Command(process.Program, append([]string{"serve", s.dir, "--listen", "127.0.0.1:0"}, s.args...)...)
	cmd.Env = append(os.Environ(), s.env...)
	s.Server = process.Start(s.t, cmd)
}

// alive fails the test if the server has ended or written of a panic.
func (s *served) alive() {
	s.t.Helper()
	select {
	case err := <-s.Ended:
		s.t.Errorf("the server ended: %v\n%s", err, s.Log)
	default:
	}
	if text := s.Log.String(); strings.Contains(text, "panic") || strings.Contains(text, "fatal error") {
		s.t.Errorf("the server's log: %s", text)
	}
}

// metrics reads numbers that the server tells about itself.
func (s *served) metrics(c *http.Client) (map[string]float64, error) {
	res, err := c.Get(s.URL + "/metrics")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	values := map[string]float64{}
	for line := range strings.Lines(string(body)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			if x, err := strconv.ParseFloat(value, 64); err == nil {
				values[name] = x
			}
		}
	}
	return values, err
}

// memory is the most that the process had in memory at one time, in bytes.
func (s *served) memory() int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Cmd.Process.Pid))
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// client has connections of its own.
func client() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4, DisableCompression: true}, Timeout: time.Minute}
}

// reply is a server's answer.
type reply struct {
	status int
	body   []byte
}

func send(c *http.Client, method, url, body string, header ...string) (reply, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, b}, err
}

var busy = regexp.MustCompile(`"code":"(busy|customer_erased)"`)

// ask returns the rows of an answer.
func (s *served) ask(c *http.Client, query string) ([][]any, error) {
	r, err := send(c, "POST", s.URL+"/v1/query", query, "Content-Type", "text/plain")
	// Where others are first, or a customer was erased meanwhile, it is asked again.
	for try := 0; try < 20 && err == nil && r.status == 503 && busy.Match(r.body); try++ {
		r, err = send(c, "POST", s.URL+"/v1/query", query, "Content-Type", "text/plain")
	}
	if err != nil {
		return nil, err
	}
	if r.status != 200 {
		return nil, fmt.Errorf("%s: %d %s", query, r.status, r.body)
	}
	var answer struct {
		Rows [][]any `json:"rows"`
		Meta struct {
			Partial bool `json:"partial"`
		} `json:"meta"`
	}
	if err := json.Unmarshal(r.body, &answer); err != nil {
		return nil, err
	}
	if answer.Meta.Partial {
		return nil, fmt.Errorf("%s: a partial answer", query)
	}
	return answer.Rows, nil
}

// segments counts the segments of the store, each of which may be open.
func (s *served) segments(c *http.Client) float64 {
	r, err := send(c, "GET", s.URL+"/v1/status", "")
	var status struct{ Segments []any }
	if err == nil {
		err = json.Unmarshal(r.body, &status)
	}
	if err != nil {
		s.t.Error(err)
	}
	return float64(len(status.Segments))
}

// settled waits until what the server holds is what it held before: running
// queries, their memory, goroutines and descriptors, but those of segments.
func (s *served) settled(before map[string]float64, c *http.Client) {
	s.t.Helper()
	const spare = 12 // of goroutines and descriptors: connections of the test's own
	files := s.segments(c)
	var now map[string]float64
	for range 50 { // five seconds
		c.CloseIdleConnections()
		var err error
		if now, err = s.metrics(c); err == nil && now["wend_queries_running"] == 0 && now["wend_query_memory_bytes"] == 0 &&
			now["go_goroutines"] <= before["go_goroutines"]+spare && now["process_open_fds"] <= before["process_open_fds"]+files+spare {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Errorf("five seconds after: %v queries run, %v bytes are reserved, %v goroutines (%v before), %v descriptors (%v before) with %v segments", now["wend_queries_running"],
		now["wend_query_memory_bytes"], now["go_goroutines"], before["go_goroutines"], now["process_open_fds"], before["process_open_fds"], files)
}
