// Command roost-controlplane is a Kubernetes control plane for tests: a real
// kube-apiserver with an embedded etcd in one process, ready in seconds, on one
// machine and without root.
//
// What is in it: everything that the API server itself does (RBAC, custom
// resources, admission, TokenRequest, streaming lists, server-side apply), and
// two controllers, so that namespaces get their default service account and
// can be deleted. What is not: kubelets, a scheduler, garbage collection of
// owned objects, the other controllers. Pods can be stored, but never run.
//
// Everything that identifies the server to its clients lives in the data
// folder and is made once: certificates, keys, tokens. A kubeconfig stays
// valid when the process is killed and started again on the same folder and
// port.
//
// It must never listen on anything but the loopback interface (etcd: on a
// socket inside the data folder, which is 0700), and never print anything but
// its one line on stdout.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	readyWithin = 90 * time.Second       // then start-up has failed
	drainWithin = 500 * time.Millisecond // for requests under way after SIGTERM
)

type options struct {
	port       int
	data       string
	kubeconfig string
	noFsync    bool
}

// ready is the one line on stdout, printed when the server answers.
type ready struct {
	Server     string `json:"server"`     // URL
	Kubeconfig string `json:"kubeconfig"` // file: an administrator's client certificate
	Token      string `json:"token"`      // an administrator's bearer token
	CA         string `json:"ca"`         // file: PEM of the server's certificate authority
	PID        int    `json:"pid"`
}

const help = `Usage: roost-controlplane --data DIR [options]

A kube-apiserver with embedded etcd in one process, for tests. Listens on the
loopback interface. Prints one JSON line on stdout when it is ready:
  {"server","kubeconfig","token","ca","pid"}   ("kubeconfig", "ca": files)
and its log on stderr. SIGTERM or SIGINT stops it. The same folder and port
give the same server again: data, certificates, tokens.

Options:
  --data DIR          etcd's data and the certificates (made if absent, 0700)
  --port N            port to listen on; 0: any free one (default 0)
  --kubeconfig FILE   where to write the kubeconfig, 0600
                      (default: kubeconfig inside the data folder)
  --unsafe-no-fsync   never sync to disk: faster; data survives a crash of the
                      process, not of the machine
  --help              this text

Exit status: 0 stopped by a signal, 1 failed, 2 wrong usage.
`

func main() {
	o, err := parse(os.Args[1:])
	if err == flag.ErrHelp {
		fmt.Print(help)
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "roost-controlplane: %v (--help lists the options)\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "roost-controlplane: %v\n", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("roost-controlplane", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.data, "data", "", "")
	fs.IntVar(&o.port, "port", 0, "")
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "")
	fs.BoolVar(&o.noFsync, "unsafe-no-fsync", false, "")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if o.port < 0 || o.port > 65535 {
		return o, fmt.Errorf("--port %d: not between 0 and 65535", o.port)
	}
	if o.data == "" {
		return o, fmt.Errorf("--data is missing")
	}
	if o.kubeconfig == "" {
		o.kubeconfig = filepath.Join(o.data, "kubeconfig")
	}
	return o, absolute(&o.data, &o.kubeconfig)
}

// absolute: the process changes into its data folder, so no path may depend on
// where it was started.
func absolute(paths ...*string) error {
	for _, p := range paths {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}

// run serves until ctx ends: data folder, then etcd, API server, controllers;
// and down again in the opposite order.
func run(ctx context.Context, o options) error {
	unlock, err := lockData(o.data)
	if err != nil {
		return err
	}
	defer unlock()
	ids, err := loadIdentities(filepath.Join(o.data, "pki"))
	if err != nil {
		return err
	}
	// Bound before anything slow, so that a port in use is known at once.
	listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port)))
	if err != nil {
		return err
	}
	defer listener.Close()
	store, err := startEtcd(filepath.Join(o.data, "etcd"), o.noFsync)
	if err != nil {
		return fmt.Errorf("etcd in %s: %w", o.data, err)
	}
	defer store.Close()

	serveCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	server, err := startServer(serveCtx, listener, ids)
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	if err := announce(ctx, o, server, ids, listener); err != nil {
		return err
	}
	select {
	case err := <-server.done:
		return fmt.Errorf("kube-apiserver stopped by itself: %w", err)
	case <-store.Err():
		return fmt.Errorf("etcd stopped by itself")
	case <-ctx.Done():
	}
	select { // requests under way may end; watches need not
	case <-server.done:
	case <-time.After(drainWithin):
	}
	return nil
}

// announce waits until the server is ready, starts the controllers, writes the
// kubeconfig and prints the line.
func announce(ctx context.Context, o options, s *server, ids *identities, l net.Listener) error {
	if err := s.waitReady(ctx, readyWithin); err != nil {
		return err
	}
	if err := startControllers(ctx, s.loopback); err != nil {
		return fmt.Errorf("controllers: %w", err)
	}
	// A name rather than an address: some TLS clients refuse addresses.
	url := fmt.Sprintf("https://localhost:%d", l.Addr().(*net.TCPAddr).Port)
	if err := writeKubeconfig(o.kubeconfig, url, ids); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(ready{
		Server: url, Kubeconfig: o.kubeconfig, Token: ids.token, CA: ids.caFile, PID: os.Getpid(),
	})
}

// lockData makes the data folder, changes into it and takes its lock, which
// the kernel drops when the process ends, however it ends.
func lockData(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chdir(dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile("lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("data folder %s is in use by another process", dir)
	}
	return func() { f.Close() }, nil
}
