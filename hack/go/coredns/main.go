// The cluster's name server: CoreDNS with the few plugins that a test cluster needs, run as a process of the host.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/template"
)

// The order is the order in which a query passes the plugins.
func init() {
	dnsserver.Directives = []string{"bind", "health", "errors", "cache", "kubernetes", "template"}
}

func main() {
	coremain.Run()
}
