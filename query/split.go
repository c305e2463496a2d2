package query

import "strings"

// Split cuts a script into the texts of its statements at the semicolons
// outside quotes and comments. Empty statements are left out. Whole reports
// whether the last statement is ended by a semicolon.
func Split(script string) (statements []string, whole bool) {
	start, blank := 0, true
	for i := 0; i < len(script); i++ {
		switch c := script[i]; {
		case c == '\'' || c == '"':
			blank = false
			end := strings.IndexByte(script[i+1:], c)
			if end < 0 {
				i = len(script)
			} else {
				i += 1 + end
			}
		case c == '-' && strings.HasPrefix(script[i:], "--"):
			end := strings.IndexByte(script[i:], '\n')
			if end < 0 {
				i = len(script)
			} else {
				i += end
			}
		case c == ';':
			if !blank {
				statements = append(statements, script[start:i])
			}
			start, blank = i+1, true
		case c != ' ' && c != '\t' && c != '\n' && c != '\r':
			blank = false
		}
	}
	if blank {
		return statements, true
	}
	return append(statements, script[start:]), false
}
