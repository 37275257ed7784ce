package lp2p

import (
	"context"
	"log/slog"

	"github.com/libp2p/go-libp2p/gologshim"
)

// RouteLogs sends the log lines of libp2p itself to log. libp2p keeps its logger
// for the whole process and asks for it at its first line, so a program calls
// this once, before its first New; without it such lines go to standard error.
func RouteLogs(log *slog.Logger) { gologshim.SetDefaultHandler(demoted{log.Handler()}) }

// demoted makes debug lines of all lines below errors: strangers can have libp2p
// write any number of its warnings.
type demoted struct{ slog.Handler }

// Enabled reports whether a line of the level would be kept.
func (d demoted) Enabled(ctx context.Context, l slog.Level) bool {
	return d.Handler.Enabled(ctx, demote(l))
}

// Handle passes the line on.
func (d demoted) Handle(ctx context.Context, r slog.Record) error {
	r.Level = demote(r.Level)
	return d.Handler.Handle(ctx, r)
}

// WithAttrs returns a handler that demotes too.
func (d demoted) WithAttrs(attrs []slog.Attr) slog.Handler {
	return demoted{d.Handler.WithAttrs(attrs)}
}

// WithGroup returns a handler that demotes too.
func (d demoted) WithGroup(name string) slog.Handler { return demoted{d.Handler.WithGroup(name)} }

func demote(l slog.Level) slog.Level {
	if l >= slog.LevelError {
		return l
	}
	return min(l, slog.LevelDebug)
}
