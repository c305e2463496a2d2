package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// A goroutine that panics takes the process with it, and all other statements:
// what the engine starts beside a statement is shielded.
func TestGoroutinesOfTheEngineAreShielded(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(root, "engine", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	functions := map[string]*ast.FuncDecl{}
	var starting []ast.Node
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncDecl); ok {
				functions[f.Name.Name] = f
			} else if starts(n) {
				starting = append(starting, n)
			}
			return true
		})
	}
	for _, n := range starting {
		body := n
		if g, ok := n.(*ast.GoStmt); ok {
			if method, ok := g.Call.Fun.(*ast.SelectorExpr); ok && functions[method.Sel.Name] != nil {
				body = functions[method.Sel.Name]
			}
		}
		if !calls(body, "shielded") {
			t.Errorf("%s: a goroutine is started that is not shielded", fset.Position(n.Pos()))
		}
	}
	if started := len(starting); started < 5 {
		t.Errorf("only %d places that start goroutines were looked at", started)
	}
}

// starts reports whether a node starts a goroutine: by go, or by a method Go of
// a group of them.
func starts(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		return true
	case *ast.CallExpr:
		method, ok := n.Fun.(*ast.SelectorExpr)
		return ok && method.Sel.Name == "Go"
	}
	return false
}

func calls(n ast.Node, name string) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			f, ok := call.Fun.(*ast.Ident)
			found = found || ok && f.Name == name
		}
		return !found
	})
	return found
}
