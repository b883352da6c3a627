package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
)

const (
	namespaceWorkers      = 10
	serviceAccountWorkers = 2
	resync                = 10 * time.Minute
)

// startControllers runs, until ctx ends, the two controllers without which
// namespaces lack their default service account and are never deleted.
func startControllers(ctx context.Context, loopback *rest.Config) error {
	config := rest.CopyConfig(loopback)
	config.QPS = -1 // in-process: no client-side limit
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	shared := informers.NewSharedInformerFactory(client, resync)
	namespaces := namespace.NewNamespaceController(ctx, client, objects,
		client.Discovery().ServerPreferredNamespacedResources,
		shared.Core().V1().Namespaces(), resync, corev1.FinalizerKubernetes)
	accounts, err := serviceaccount.NewServiceAccountsController(
		shared.Core().V1().ServiceAccounts(), shared.Core().V1().Namespaces(),
		client, serviceaccount.DefaultServiceAccountsControllerOptions())
	if err != nil {
		return err
	}
	shared.Start(ctx.Done())
	go namespaces.Run(ctx, namespaceWorkers)
	go accounts.Run(ctx, serviceAccountWorkers)
	return nil
}
