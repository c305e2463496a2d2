package access

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wend/internal/trust"
)

// The types Token and digest cannot be compared with ==: the compiler says so.
// What is taken out of them can, and this test looks for it in the whole
// source: no comparison, switch or map key made of a secret's content.

// contents are the ways to a secret's content.
var contents = []string{"Reveal", "sum", "text"}

// comparing are functions whose time depends on how much of two texts is equal.
var comparing = []string{"bytes.Equal", "bytes.Compare", "bytes.HasPrefix", "bytes.Contains", "strings.Compare", "strings.EqualFold",
	"strings.HasPrefix", "strings.Contains", "slices.Equal", "slices.Compare", "slices.Contains", "slices.Index", "reflect.DeepEqual", "cmp.Compare"}

func TestSecretsAreComparedInConstantTime(t *testing.T) {
	files, found := 0, 0
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			return err
		}
		inside := f.Name.Name == "access"
		if !inside && !slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"wend/access"` }) {
			return nil
		}
		files++
		for _, at := range comparisons(f, inside) {
			found++
			t.Errorf("%s: a secret's content is compared in a time that tells of it; use subtle.ConstantTimeCompare", fset.Position(at))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 5 {
		t.Errorf("only %d files were looked at", files)
	}
	trust.Report(t, "S4", "files", files, "findings", found)
}

// comparisons finds where the content of a secret is compared.
func comparisons(f *ast.File, inside bool) (at []token.Pos) {
	secret := func(e ast.Expr) (is bool) {
		ast.Inspect(e, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && name(call.Fun) == "len" {
				return false
			}
			s, ok := n.(*ast.SelectorExpr)
			is = is || ok && slices.Contains(contents, s.Sel.Name) && (inside || s.Sel.Name == "Reveal")
			return true
		})
		return is
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			none := name(n.Y) == `""` // whether there is one at all
			if (n.Op == token.EQL || n.Op == token.NEQ) && !none && (secret(n.X) || secret(n.Y)) {
				at = append(at, n.Pos())
			}
		case *ast.SwitchStmt:
			if n.Tag != nil && secret(n.Tag) {
				at = append(at, n.Pos())
			}
		case *ast.IndexExpr:
			if secret(n.Index) {
				at = append(at, n.Pos())
			}
		case *ast.CallExpr:
			if slices.Contains(comparing, name(n.Fun)) && slices.ContainsFunc(n.Args, secret) {
				at = append(at, n.Pos())
			}
		}
		return true
	})
	return at
}

func name(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.BasicLit:
		return e.Value
	case *ast.SelectorExpr:
		return name(e.X) + "." + e.Sel.Name
	}
	return ""
}

func TestComparisonsOfSecretsAreFound(t *testing.T) {
	f := func(line string, want int) {
		t.Helper()
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package access\nfunc f() {\n"+line+"\n}", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := comparisons(file, true); len(got) != want {
			t.Errorf("%s: %d findings, want %d", line, len(got), want)
		}
	}
	f(`if d.sum == e.sum {}`, 1)
	f(`if string(d.sum[:]) != x {}`, 1)
	f(`bytes.Equal(d.sum[:], x)`, 1)
	f(`if x == t.Reveal() {}`, 1)
	f(`switch t.text { case "a": }`, 1)
	f(`x := known[t.Reveal()]`, 1)
	f(`strings.HasPrefix(t.text, "a")`, 1)
	f(`if t.Reveal() == "" {}`, 0)
	f(`if len(t.text) == 3 {}`, 0)
	f(fmt.Sprintf("subtle.ConstantTimeCompare(%s, %s)", "d.sum[:]", "e.sum[:]"), 0)
}
