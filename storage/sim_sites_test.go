package storage

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mutatingCalls are the calls of vfs.FS and vfs.File that change what a crash
// can leave, and what passes writes on to them.
var mutatingCalls = map[string]string{
	"vfs.FS.Create": "create", "vfs.FS.Rename": "rename", "vfs.FS.Link": "link", "vfs.FS.Remove": "remove",
	"vfs.FS.MkdirAll": "mkdir", "vfs.FS.SyncDir": "syncdir", "vfs.FS.Lock": "lock",
	"vfs.File.Write": "write", "vfs.File.Sync": "sync", "vfs.File.Truncate": "truncate",
	"bufio.Writer.Flush": "write",
}

// readingCalls are the others, whose errors have to be told as well.
var readingCalls = map[string]string{
	"vfs.FS.Open": "open", "vfs.Pool.Open": "open", "vfs.PoolFile.Close": "close", "vfs.FS.OpenAppend": "openappend", "vfs.FS.ReadDir": "readdir",
	"vfs.File.ReadAt": "read", "vfs.File.Close": "close", "vfs..ReadFile": "open",
}

// fakes gives the packages that the types of files come from, and empty ones
// for all others: what they declare does not matter here.
type fakes struct {
	source types.Importer
	fset   *token.FileSet
}

func (f fakes) Import(path string) (*types.Package, error) {
	switch path {
	case "io", "bufio", "errors":
		return f.source.Import(path)
	case "wend/storage/vfs":
		files, err := parseDir(f.fset, "vfs")
		if err != nil {
			return nil, err
		}
		config := types.Config{Importer: f, Error: func(error) {}, FakeImportC: true}
		p, _ := config.Check(path, f.fset, files, nil) // what cannot be resolved is not asked for
		return p, nil
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	p := types.NewPackage(path, name)
	p.MarkComplete()
	return p, nil
}

func parseDir(fset *token.FileSet, dir string) ([]*ast.File, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// mutatingSites lists the package's calls that change files, "wal.go:12 write".
func mutatingSites(t *testing.T) []string { return callSites(t, mutatingCalls) }

// callSites lists the package's calls of functions of files.
func callSites(t *testing.T, calls map[string]string) []string {
	t.Helper()
	return callSitesIn(t, "", calls)
}

// callSitesIn lists those of one function; "": of all.
func callSitesIn(t *testing.T, function string, calls map[string]string) []string {
	t.Helper()
	fset := token.NewFileSet()
	files, err := parseDir(fset, ".")
	if err != nil {
		t.Fatal(err)
	}
	info := &types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}}
	config := types.Config{Importer: fakes{importer.ForCompiler(fset, "source", nil), fset}, Error: func(error) {}}
	_, _ = config.Check("wend/storage", fset, files, info) // unresolved names of other packages are expected
	var sites []string
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			if branch, ok := n.(*ast.IfStmt); ok && deliberate(branch.Cond) {
				return false
			}
			if f, ok := n.(*ast.FuncDecl); ok && function != "" && f.Name.Name != function {
				return false
			}
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || info.Selections[sel] == nil {
				return true
			}
			recv := info.Selections[sel].Recv()
			if p, ok := recv.(*types.Pointer); ok {
				recv = p.Elem()
			}
			named, ok := recv.(*types.Named)
			if !ok || named.Obj().Pkg() == nil {
				return true
			}
			full := named.Obj().Pkg().Name() + "." + named.Obj().Name() + "." + sel.Sel.Name
			if kind, ok := calls[full]; ok {
				at := fset.Position(call.Lparen)
				if strings.HasPrefix(at.Filename, "dump") {
					return true // what a dump is written to is no file of the store
				}
				sites = append(sites, fmt.Sprintf("%s:%d %s", at.Filename[strings.LastIndexByte(at.Filename, '/')+1:], at.Line, kind))
			}
			return true
		})
	}
	slices.Sort(sites)
	return slices.Compact(sites)
}

// deliberate reports whether a condition holds only while a deliberate bug is on.
func deliberate(cond ast.Expr) bool {
	switch e := cond.(type) {
	case *ast.BinaryExpr:
		return e.Op == token.LAND && (deliberate(e.X) || deliberate(e.Y))
	case *ast.CallExpr:
		sel, ok := e.Fun.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		x, ok := sel.X.(*ast.Ident)
		return ok && x.Name == "seeded" && sel.Sel.Name == "On"
	}
	return false
}

// covered compares the sites of the sources with those where crashes happened.
func (tally *simTally) covered(sites []string) (both int, missing []string, least int) {
	least = 1 << 30
	for _, s := range sites {
		before, after := tally.inside["before "+s], tally.inside["after "+s]
		if before > 0 && after > 0 {
			both++
		} else {
			missing = append(missing, fmt.Sprintf("%s (before %d, after %d)", s, before, after))
		}
		least = min(least, before, after)
	}
	return both, missing, least
}
