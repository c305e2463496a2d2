package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// warnings writes what a store warns of for people, a line each.
type warnings struct {
	out   io.Writer
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (w warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (w warnings) Handle(_ context.Context, r slog.Record) error {
	var list []string
	add := func(a slog.Attr) bool {
		list = append(list, fmt.Sprintf("%s %v", a.Key, a.Value))
		return true
	}
	for _, a := range w.attrs {
		add(a)
	}
	r.Attrs(add)
	text := "warning: " + r.Message
	if len(list) > 0 {
		text += ": " + strings.Join(list, ", ")
	}
	_, err := fmt.Fprintln(w.out, text)
	return err
}

// WithAttrs implements slog.Handler.
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	w.attrs = append(w.attrs[:len(w.attrs):len(w.attrs)], attrs...)
	return w
}

// WithGroup implements slog.Handler; a store has no groups.
func (w warnings) WithGroup(string) slog.Handler { return w }
