package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"wend/access"
	"wend/server"
	"wend/storage/vfs"
)

func serveCommand() *cobra.Command {
	var listen, tokenFile string
	var opt server.Options
	cmd := &cobra.Command{
		Use:   "serve DB",
		Short: "Answer queries and take events over HTTP",
		Long:  "Opens the store for writing and serves it until it is told to stop (Ctrl-C or SIGTERM): running queries then have ten seconds to finish.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if isURL(args[0]) {
				return mistake{fmt.Errorf("serve opens a folder, and %s is a server already", args[0])}
			}
			if err := server.LoopbackOnly(listen); err != nil {
				return mistake{err}
			}
			log := slog.New(slog.NewTextHandler(os.Stderr, nil))
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return fmt.Errorf("listen on %s: %w; --listen takes another address", listen, errors.Unwrap(err))
			}
			defer l.Close()
			db, err := openLogged(args[0], making, log)
			if err != nil {
				return err
			}
			if opt.Access, err = access.Keep(vfs.OS{}, args[0], tokenFile, nil); err != nil {
				return errors.Join(err, db.Close())
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			opt.Log, opt.Version = log, version
			fmt.Fprintf(os.Stderr, "wend %s serves %s on http://%s; Ctrl-C stops it\n", version, args[0], l.Addr())
			err = server.New(db, opt).Serve(ctx, l, nil)
			if e := db.Close(); err == nil {
				err = e
			}
			return err
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:7171", "address to listen on; loopback only")
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "file of tokens that are let in besides those of wend token: one a line, behind it its scopes")
	cmd.Flags().StringArrayVar(&opt.CORS, "cors", nil, "origin whose pages may call this server; may be repeated")
	cmd.Flags().StringArrayVar(&opt.Hosts, "host", nil, "host name that clients use besides loopback ones; may be repeated")
	cmd.Flags().BoolVar(&opt.LogQueries, "log-queries", false, "write statements to the log; they can hold personal data")
	cmd.Flags().DurationVar(&opt.QueryTimeout, "query-timeout", 30*time.Second, "longest time a query may take")
	return cmd
}
