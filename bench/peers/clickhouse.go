package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// openClickHouse loads the embedded ClickHouse (library, folder of its data)
// and returns what runs one statement on it.
func openClickHouse(args []string) (func(string) ([][]any, error), error) {
	if _, err := os.Stat(args[0]); err != nil {
		return nil, fmt.Errorf("the library of ClickHouse is not there: %w", err)
	}
	lib, err := purego.Dlopen(args[0], purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, err
	}
	var (
		connect  func(argc int32, argv **byte) *uintptr
		query    func(conn uintptr, text, format string) uintptr
		buffer   func(result uintptr) *byte
		length   func(result uintptr) uint64
		failure  func(result uintptr) string
		dispose  func(result uintptr)
		register = func(f any, name string) { purego.RegisterLibFunc(f, lib, name) }
	)
	register(&connect, "chdb_connect")
	register(&query, "chdb_query")
	register(&buffer, "chdb_result_buffer")
	register(&length, "chdb_result_length")
	register(&failure, "chdb_result_error")
	register(&dispose, "chdb_destroy_query_result")

	argv := []*byte{cString("clickhouse"), cString("--path=" + args[1])}
	conn := connect(int32(len(argv)), &argv[0])
	runtime.KeepAlive(argv)
	if conn == nil {
		return nil, errors.New("ClickHouse does not open its folder " + args[1])
	}
	return func(text string) ([][]any, error) {
		r := query(*conn, text, "JSONCompactEachRow")
		if r == 0 {
			return nil, errors.New("ClickHouse gave no answer")
		}
		defer dispose(r)
		if msg := failure(r); msg != "" {
			return nil, errors.New(msg)
		}
		var rows [][]any
		data := bytes.Clone(unsafe.Slice(buffer(r), length(r)))
		d := json.NewDecoder(bytes.NewReader(data))
		for d.More() {
			var row []any
			if err := d.Decode(&row); err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
		return rows, nil
	}, nil
}

func cString(s string) *byte { return unsafe.StringData(s + "\x00") }
