// Command coredns is CoreDNS with only the plugins that the tests beside it need.
package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"        // listens on loopback only
	_ "github.com/coredns/coredns/plugin/cache"       // has TTLs run down
	_ "github.com/coredns/coredns/plugin/erratic"     // drops, delays, truncates
	_ "github.com/coredns/coredns/plugin/errors"      // logs what fails
	_ "github.com/coredns/coredns/plugin/file"        // zones
	_ "github.com/coredns/coredns/plugin/forward"     // asks another CoreDNS
	_ "github.com/coredns/coredns/plugin/kubernetes"  // headless services of an API server
	_ "github.com/coredns/coredns/plugin/loadbalance" // shuffles records
	_ "github.com/coredns/coredns/plugin/template"    // answers with any code
)

func main() { coremain.Run() }
