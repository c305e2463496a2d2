// Package architecture holds the imports between packages to what is drawn
// here: one way only, and each outside library enters through one door.
package architecture

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// layers lists the packages from the bottom up, each with what it may import
// of the project. What is not listed here may import nothing of it.
var layers = map[string]string{
	"wend/event":                 "",
	"wend/docs":                  "",
	"wend/internal/seeded":       "", // with its tag, internal/trust
	"wend/internal/forced":       "",
	"wend/internal/trust":        "",
	"wend/internal/process":      "",
	"wend/internal/trials":       "",
	"wend/internal/soak":         "",
	"wend/internal/trust/show":   "internal/trust",
	"wend/internal/demo":         "",
	"wend/internal/shared":       "",
	"wend/internal/selfsigned":   "",
	"wend/tile":                  "event internal/forced",
	"wend/query":                 "event internal/seeded",
	"wend/storage/vfs":           "",
	"wend/storage/vfs/simfs":     "storage/vfs",
	"wend/access":                "storage/vfs",
	"wend/storage":               "event storage/vfs tile internal/forced internal/seeded",
	"wend/ingest":                "event",
	"wend/engine":                "event query storage tile internal/seeded",
	"wend/engine/enginetest":     "engine event tile",
	"wend/render":                "engine event",
	"wend/client":                "access engine event ingest query storage",
	"wend/repl":                  "docs engine query render",
	"wend/server":                "access engine event ingest query render storage",
	"wend/cmd/wend":              "access client engine event ingest internal/demo query render repl server storage storage/vfs",
	"wend/internal/reference":    "event query",
	"wend/internal/transcript":   "event query",
	"wend/internal/randtest":     "event internal/reference",
	"wend/internal/architecture": "",
}

// doors lists which packages may import an outside module.
var doors = map[string]string{
	"github.com/RoaringBitmap/roaring/v2": "storage tile",
	"github.com/alecthomas/participle/v2": "query",
	"github.com/peterh/liner":             "repl",
	"github.com/dgraph-io/ristretto/v2":   "storage engine",
	"github.com/klauspost/compress":       "storage ingest server client",
	"github.com/cespare/xxhash/v2":        "storage server engine",
	"github.com/mattn/go-runewidth":       "query render repl",
	"github.com/prometheus/client_golang": "server",
	"github.com/spf13/cobra":              "cmd/wend",
	"github.com/spf13/pflag":              "cmd/wend",
	"golang.org/x/term":                   "repl cmd/wend",
	"golang.org/x/text":                   "ingest",
	"golang.org/x/sys":                    "storage/vfs",
	"golang.org/x/sync":                   "storage engine server",
}

type goPackage struct {
	ImportPath string
	Imports    []string
	CgoFiles   []string
}

func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,CgoFiles", "wend/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for {
		var p goPackage
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.ImportPath, "wend/bench") {
			continue // benchmarks look at everything
		}
		seen++
		allowed, listed := layers[p.ImportPath]
		if !listed {
			t.Errorf("%s is not in the drawing: say what it may import", p.ImportPath)
		}
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s uses cgo", p.ImportPath)
		}
		for _, path := range p.Imports {
			checkImport(t, p.ImportPath, path, strings.Fields(allowed))
		}
	}
	if seen < 10 {
		t.Errorf("only %d packages were looked at", seen)
	}
}

func checkImport(t *testing.T, from, path string, allowed []string) {
	t.Helper()
	if inside, ok := strings.CutPrefix(path, "wend/"); ok {
		if !slices.Contains(allowed, inside) {
			t.Errorf("%s imports %s, which stands above or beside it", from, path)
		}
		return
	}
	if !strings.Contains(strings.SplitN(path, "/", 2)[0], ".") {
		return // the standard library
	}
	for module, door := range doors {
		if path == module || strings.HasPrefix(path, module+"/") {
			if !slices.Contains(strings.Fields(door), strings.TrimPrefix(from, "wend/")) {
				t.Errorf("%s imports %s, whose door is %s", from, path, door)
			}
			return
		}
	}
	t.Errorf("%s imports %s, which has no door", from, path)
}
