package main

import (
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// Sockets in the current folder, which is the data folder: relative, since the
// path of a Unix socket holds no more than 107 bytes.
const (
	etcdClientURL = "unix://etcd.sock"
	etcdPeerURL   = "unix://etcd-peer.sock"
)

// startEtcd serves one member from dir on a socket; returns once it serves.
// Borrows nothing; the caller closes the result.
func startEtcd(dir string, noFsync bool) (*embed.Etcd, error) {
	client, err := url.Parse(etcdClientURL)
	if err != nil {
		return nil, err
	}
	peer, err := url.Parse(etcdPeerURL)
	if err != nil {
		return nil, err
	}
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.ListenClientUrls = []url.URL{*client}
	cfg.ListenPeerUrls = []url.URL{*peer}
	// The advertised URLs stay the defaults: nobody but us ever connects, and
	// etcd takes no sockets there.
	cfg.UnsafeNoFsync = noFsync
	cfg.QuotaBackendBytes = 2 << 30
	cfg.LogLevel = "error"
	cfg.LogOutputs = []string{"stderr"}
	cfg.EnableGRPCGateway = false
	// One member: nobody else can win an election, so none need be waited for.
	cfg.TickMs, cfg.ElectionMs = 10, 100

	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, nil
	case err = <-e.Err():
	case <-time.After(readyWithin):
		err = errNotReady
	}
	e.Close()
	return nil, err
}
