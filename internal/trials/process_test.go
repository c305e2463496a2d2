package trials

import (
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"wend/internal/process"
)

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }

var serveFlags []string // of the servers of the test that runs

// serve is the command that serves a store, behind other words if given
// ("strace", …).
func serve(dir string, before ...string) *exec.Cmd {
	words := append(slices.Clone(before), process.Program, "serve", dir, "--listen", "127.0.0.1:0", "--allow-memory")
	words = append(words, serveFlags...)
	return exec.Command(words[0], words[1:]...)
}

// client has connections of its own, so that those to a dead process go with it.
func client() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}, Timeout: 30 * time.Second}
}
