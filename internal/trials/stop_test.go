package trials

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wend/internal/process"
	"wend/internal/trust"
	"wend/storage"
)

// A server that is told to stop while a batch is arriving takes no other
// connection, takes the batch, acknowledges it, and ends well; what it leaves
// behind holds the batch, and nothing to replay.
func TestStopWaitsForWhatIsUnderWay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	p := process.Start(t, serve(dir))
	defer p.Kill()
	address := strings.TrimPrefix(p.URL, "http://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const body = `{"customer": "ann", "time": "2025-03-01T10:00:00Z", "event": "view"}`
	half := len(body) / 2
	fmt.Fprintf(conn, "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100") { // it is being read
		t.Fatalf("%q, %v", line, err)
	}
	fmt.Fprint(conn, body[:half])
	if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		other, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		other.Close()
		if time.Now().After(deadline) {
			t.Fatal("it still takes connections")
		}
	}
	if p.Gone() {
		t.Fatalf("it ended in the middle of a request\n%s", p.Log)
	}
	fmt.Fprint(conn, body[half:])
	if _, err := answers.ReadString('\n'); err != nil { // the end of 100 Continue
		t.Fatal(err)
	}
	res, err := http.ReadResponse(answers, nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("the batch under way: %v, %v", res, err)
	}
	res.Body.Close()
	if err := <-p.Ended; err != nil {
		t.Errorf("it ended with %v\n%s", err, p.Log)
	}
	if err := nothingToReplay(dir); err != nil {
		t.Error(err)
	}
	s, err := storage.Open(dir, storage.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := s.Summary().Events
	if n != 1 {
		t.Errorf("%d events are there", n)
	}
	trust.Report(t, "P17", "stopped in the middle of a batch, acknowledged", 1, "there", n, "records to replay", 0)
}
