package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	kubeoptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

var errNotReady = errors.New("not ready in time")

const (
	issuer      = "https://kubernetes.default.svc"
	serviceCIDR = "10.0.0.0/24" // needed to start; no service gets traffic here
	readyPoll   = 25 * time.Millisecond
)

type server struct {
	loopback *rest.Config // the server's own privileged client
	done     chan error   // one value, when it has stopped
}

// serverOptions: kube-apiserver's own defaults but for what is set here.
func serverOptions(l net.Listener, ids *identities) *kubeoptions.ServerRunOptions {
	s := kubeoptions.NewServerRunOptions()
	addr := l.Addr().(*net.TCPAddr)
	s.SecureServing.Listener = l
	s.SecureServing.BindAddress = addr.IP
	s.SecureServing.BindPort = addr.Port
	s.SecureServing.ServerCert.CertKey.CertFile = ids.serverCertFile
	s.SecureServing.ServerCert.CertKey.KeyFile = ids.serverKeyFile
	s.GenericServerRunOptions.AdvertiseAddress = addr.IP
	s.EndpointReconcilerType = "none"
	s.ServiceClusterIPRanges = serviceCIDR
	s.Etcd.StorageConfig.Transport.ServerList = []string{etcdClientURL}
	s.Authentication.ClientCert.ClientCA = ids.caFile
	s.Authentication.TokenFile.TokenFile = ids.tokenFile
	s.Authentication.ServiceAccounts.Issuers = []string{issuer}
	s.Authentication.ServiceAccounts.KeyFiles = []string{ids.serviceAccountKeyFile}
	s.ServiceAccountSigningKeyFile = ids.serviceAccountKeyFile
	s.Authorization.Modes = []string{"RBAC"}
	return s
}

// startServer builds the chain of API servers and runs it until ctx ends.
func startServer(ctx context.Context, l net.Listener, ids *identities) (*server, error) {
	s := serverOptions(l, ids)
	if err := s.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	completed, err := s.Complete(ctx)
	if err != nil {
		return nil, err
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return nil, utilerrors.NewAggregate(errs)
	}
	config, err := app.NewConfig(completed)
	if err != nil {
		return nil, err
	}
	completedConfig, err := config.Complete()
	if err != nil {
		return nil, err
	}
	chain, err := app.CreateServerChain(completedConfig)
	if err != nil {
		return nil, err
	}
	prepared, err := chain.PrepareRun()
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- prepared.Run(ctx) }()
	return &server{loopback: chain.GenericAPIServer.LoopbackClientConfig, done: done}, nil
}

// waitReady returns when /readyz says so, which includes RBAC's own roles and
// the system namespaces.
func (s *server) waitReady(ctx context.Context, within time.Duration) error {
	client, err := kubernetes.NewForConfig(s.loopback)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		body, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil && string(body) == "ok" {
			return nil
		}
		select {
		case err := <-s.done:
			return fmt.Errorf("kube-apiserver: stopped while starting: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("kube-apiserver: %w: %v: %s", errNotReady, err, body)
		case <-time.After(readyPoll):
		}
	}
}
