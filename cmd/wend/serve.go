package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"wend/access"
	"wend/engine"
	"wend/event"
	"wend/server"
	"wend/storage"
	"wend/storage/vfs"
)

// serving is what the flags of serve say.
type serving struct {
	listen, tokenFile, certFile, keyFile, retention string

	exposed server.Exposure
	ballast int64 // MiB
	opt     server.Options
}

func serveCommand() *cobra.Command {
	var how serving
	cmd := &cobra.Command{
		Use:   "serve DB",
		Short: "Answer queries and take events over HTTP",
		Long: `Opens the store for writing and serves it until it is told to stop (Ctrl-C or SIGTERM): running queries then have ten seconds to finish.

Without tokens it answers everybody, and listens on loopback addresses only. wend token makes tokens; from the first one on every call needs one. On an address that others can reach, tokens and TLS are needed.`,
		Example: `  wend serve shop.wend
  wend serve shop.wend --listen 0.0.0.0:7171 --host wend.example.com --tls-cert wend.crt --tls-key wend.key
  wend serve shop.wend --listen 10.0.0.5:7171 --host wend.example.com --behind-tls-proxy`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if isURL(args[0]) {
				return mistake{fmt.Errorf("serve opens a folder, and %s is a server already", args[0])}
			}
			if err := how.check(args[0]); err != nil {
				return mistake{err}
			}
			return how.serve(cmd, args[0])
		},
	}
	cmd.Flags().StringVar(&how.listen, "listen", "127.0.0.1:7171", "address to listen on; others than loopback ones need tokens and TLS")
	cmd.Flags().StringVar(&how.certFile, "tls-cert", "", "file of the certificate for https, with those that it rests on; a changed file is read again")
	cmd.Flags().StringVar(&how.keyFile, "tls-key", "", "file of its key")
	cmd.Flags().BoolVar(&how.opt.BehindProxy, "behind-tls-proxy", false, "a proxy that encrypts stands in front; its X-Forwarded-For says who calls")
	cmd.Flags().BoolVar(&how.exposed.Insecure, "insecure", false, "let tokens and answers cross a network in plain text")
	cmd.Flags().StringVar(&how.tokenFile, "token-file", "", "file of tokens that are let in besides those of wend token: one a line, behind it its scopes")
	cmd.Flags().Int64Var(&how.ballast, "ballast", 64, "MiB of the disk to reserve for taking things out when it is full; 0: none, and events are taken until it is")
	cmd.Flags().StringVar(&how.retention, "retention", "", "how long events are kept, by their own time, such as 730d; older ones are removed for good (default: for ever)")
	cmd.Flags().StringArrayVar(&how.opt.CORS, "cors", nil, "origin whose pages may call this server; may be repeated")
	cmd.Flags().StringArrayVar(&how.opt.Hosts, "host", nil, "host name that clients use besides loopback ones; may be repeated")
	cmd.Flags().BoolVar(&how.opt.AllowMemory, "allow-memory", false, "let clients have batches acknowledged that only memory holds: X-Durability: memory")
	cmd.Flags().BoolVar(&how.opt.LogQueries, "log-queries", false, "write statements to the log; they can hold personal data")
	cmd.Flags().Float64Var(&how.opt.QueryRate, "query-rate", 0, "queries a second that one token may make, or one address without; 0: any number (default 100 where there are tokens)")
	cmd.Flags().Float64Var(&how.opt.IngestRate, "ingest-rate", 0, "batches a second, in the same way (default 200 where there are tokens)")
	cmd.Flags().StringVar(&how.opt.BackupDir, "backup-dir", "", "folder for the backups that requests ask for; none are made without it")
	cmd.Flags().DurationVar(&how.opt.QueryTimeout, "query-timeout", 30*time.Second, "longest time a query may take")
	return cmd
}

// check finds what is mistaken in the flags themselves.
func (how *serving) check(dir string) error {
	if err := server.CheckOrigins(how.opt.CORS); err != nil {
		return fmt.Errorf("--cors: %w", err)
	}
	if (how.certFile == "") != (how.keyFile == "") {
		return errors.New("--tls-cert and --tls-key belong together")
	}
	return checkServing(dir, how.opt, how.ballast)
}

func (how *serving) serve(cmd *cobra.Command, dir string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	keep, err := retentionOf(how.retention)
	if err != nil {
		return mistake{err}
	}
	opt := how.opt
	if opt.Access, err = access.Keep(vfs.OS{}, dir, how.tokenFile, nil); err != nil {
		return err
	}
	var tlsConfig *tls.Config
	scheme := "http"
	if how.certFile != "" {
		certificate, err := server.LoadCertificate(how.certFile, how.keyFile, log)
		if err != nil {
			return mistake{err}
		}
		tlsConfig, scheme = certificate.Config(), "https"
	}
	if opt.Access.Required() {
		if !cmd.Flags().Changed("query-rate") {
			opt.QueryRate = server.QueryRate
		}
		if !cmd.Flags().Changed("ingest-rate") {
			opt.IngestRate = server.IngestRate
		}
	}
	how.exposed.Tokens, how.exposed.TLS, how.exposed.Proxy = opt.Access.Required(), tlsConfig != nil, opt.BehindProxy
	l, err := listenOn(how.listen, how.exposed)
	if err != nil {
		return err
	}
	defer l.Close()
	if host, _, err := net.SplitHostPort(how.listen); err == nil && !net.ParseIP(host).IsUnspecified() && host != "" {
		opt.Hosts = append(opt.Hosts, host) // who names an address to listen on means requests to it
	}
	processors := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(threads(processors))
	db, err := openWith(dir, making, engine.Options{Logger: log, Workers: processors, Retention: keep, Storage: storage.Options{BallastBytes: how.ballast << 20}})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	opt.Log, opt.Version = log, version
	fmt.Fprintf(os.Stderr, "wend %s serves %s on %s://%s; Ctrl-C stops it\n", version, dir, scheme, l.Addr())
	err = server.New(db, opt).Serve(ctx, l, tlsConfig)
	if e := db.Close(); err == nil {
		err = e
	}
	return err
}

// threads is how many threads of the program run at once. Queries take as many
// as there are processors, and for a while up to twice as many; one is left, so
// that whoever asks finds one that listens. The runtime looks after requests
// every 10 ms only while all its threads compute.
func threads(processors int) int { return 2*processors + 1 }

// checkServing refuses values of flags that nobody can mean.
func checkServing(db string, opt server.Options, ballast int64) error {
	for _, host := range opt.Hosts {
		if err := server.CheckHost(host); err != nil {
			return fmt.Errorf("--host: %w", err)
		}
	}
	rate := func(flag string, r float64) error {
		if r >= 0 && !math.IsInf(r, 0) { // not a number is not at least 0
			return nil
		}
		return fmt.Errorf("--%s %g: it is a number of requests a second, or 0 for any", flag, r)
	}
	switch {
	case opt.QueryTimeout <= 0:
		return fmt.Errorf("--query-timeout %s: queries need some time, such as 30s", opt.QueryTimeout)
	case ballast < 0 || ballast > 1<<40:
		return fmt.Errorf("--ballast %d: it is a number of MiB, or 0 for none", ballast)
	}
	if opt.BackupDir != "" {
		if info, err := os.Stat(opt.BackupDir); err != nil || !info.IsDir() {
			return fmt.Errorf("--backup-dir: there is no folder %s; make it first", opt.BackupDir)
		}
		if inside(opt.BackupDir, db) {
			return fmt.Errorf("--backup-dir: %s is the store itself, or a folder in it; name another folder", opt.BackupDir)
		}
	}
	return errors.Join(rate("query-rate", opt.QueryRate), rate("ingest-rate", opt.IngestRate))
}

// retentionOf reads how long events are kept; 0: for ever.
func retentionOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := event.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("--retention %q is not a time span such as 730d", text)
	}
	if d < event.Hour || d > 200*365*event.Day {
		return 0, fmt.Errorf("--retention %s: it is between an hour and 200 years", text)
	}
	return time.Duration(d) * time.Microsecond, nil
}

// listenOn listens on an address that may be listened on. A name is looked at
// again once it is known what it stands for.
func listenOn(address string, exposed server.Exposure) (net.Listener, error) {
	if err := server.CheckExposure(address, exposed); err != nil {
		return nil, mistake{err}
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; --listen takes another address", address, errors.Unwrap(err))
	}
	if err := server.CheckExposure(l.Addr().String(), exposed); err != nil {
		l.Close()
		return nil, mistake{err}
	}
	return l, nil
}
