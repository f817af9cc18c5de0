// Command kubernetes is a cluster's programs in one binary, each as its own library makes it:
//
//	kubernetes etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubelet|kubectl|coredns|kube-router FLAGS
//
// One binary links once what they share, which is most of it.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/cloudnativelabs/kube-router/v2/pkg/cmd"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	programs := map[string]func() error{
		"etcd":                    etcd,
		"kube-apiserver":          func() error { return run(apiserver.NewAPIServerCommand()) },
		"kube-controller-manager": func() error { return run(controllers.NewControllerManagerCommand()) },
		"kube-scheduler":          func() error { return run(scheduler.NewSchedulerCommand()) },
		"kubelet":                 func() error { return run(kubelet.NewKubeletCommand(context.Background())) },
		"kubectl":                 func() error { return run(kubectl.NewDefaultKubectlCommand()) },
		"coredns":                 coredns,
		"kube-router":             kubeRouter,
	}
	if len(os.Args) < 2 || programs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: kubernetes PROGRAM FLAGS")
		os.Exit(2)
	}
	program := programs[os.Args[1]]
	os.Args = os.Args[1:]
	if err := program(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(command *cobra.Command) error {
	os.Exit(cli.Run(command))
	return nil
}

func etcd() error {
	etcdmain.Main(os.Args)
	return nil
}

func coredns() error {
	dnsserver.Directives = []string{"bind", "errors", "kubernetes"}
	coremain.Run()
	return nil
}

func kubeRouter() error {
	config := options.NewKubeRouterConfig()
	flags := pflag.NewFlagSet("kube-router", pflag.ExitOnError)
	config.AddFlags(flags)
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	router, err := cmd.NewKubeRouterDefault(config)
	if err != nil {
		return err
	}
	return router.Run()
}
