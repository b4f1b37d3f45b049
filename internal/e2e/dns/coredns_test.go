// Package dns_test has strategy/dns ask a real CoreDNS, on a loopback port.
// .ci/dns builds that and runs these tests.
package dns_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

const (
	// variable of the environment is the path of the program coredns beside.
	variable = "CLUSTER_COREDNS"
	// startWithin is how long CoreDNS may take to serve.
	startWithin = 30 * time.Second
	// reload is how soon CoreDNS sees that a zone has changed.
	reload = 100 * time.Millisecond
)

// A coreDNS is a process that serves on a port of loopback.
type coreDNS struct {
	tb     testing.TB
	addr   string
	dir    string
	serial int // of the zone
	cmd    *exec.Cmd
	exited chan struct{} // is closed when the process has
	log    bytes.Buffer
}

// serveZone starts CoreDNS with the zone test., and with what else a server block
// is to have.
func serveZone(tb testing.TB, records string, plugins ...string) *coreDNS {
	tb.Helper()
	c := &coreDNS{tb: tb, dir: tb.TempDir()}
	c.zone(records)
	c.serve(append(plugins, fmt.Sprintf("file zone test. {\n\t\treload %s\n\t}", reload))...)
	return c
}

// serveFor starts CoreDNS before another, whose answers it caches.
func serveFor(tb testing.TB, other *coreDNS) *coreDNS {
	tb.Helper()
	c := &coreDNS{tb: tb, dir: tb.TempDir()}
	c.serve("cache 60", "forward . "+other.addr)
	return c
}

// serve starts the process. It is stopped when the test ends, and its log is shown
// if that has failed.
func (c *coreDNS) serve(plugins ...string) {
	c.tb.Helper()
	host, port := c.takePort()
	c.write("Corefile", fmt.Sprintf(".:%s {\n\tbind %s\n\terrors\n\t%s\n}\n", port, host, strings.Join(plugins, "\n\t")))
	c.tb.Cleanup(func() {
		c.stop()
		if c.tb.Failed() {
			c.tb.Logf("CoreDNS has logged:\n%s", c.log.String())
		}
	})
	c.start()
}

// takePort finds one that is free by UDP and TCP.
func (c *coreDNS) takePort() (host, port string) {
	c.tb.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			c.tb.Fatal(err)
		}
		c.addr = l.Addr().String()
		pc, udpErr := net.ListenPacket("udp", c.addr)
		_ = l.Close()
		if udpErr == nil {
			_ = pc.Close()
			host, port, _ = net.SplitHostPort(c.addr)
			return host, port
		}
	}
	c.tb.Fatal("there is no port that is free by both UDP and TCP")
	return "", ""
}

// write replaces a file.
func (c *coreDNS) write(name, text string) {
	c.tb.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		c.tb.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		c.tb.Fatal(err)
	}
}

// zone changes the zone.
func (c *coreDNS) zone(records string) {
	c.tb.Helper()
	c.serial++
	c.write("zone", fmt.Sprintf("$ORIGIN test.\n@ 1 IN SOA ns admin %d 60 60 60 1\n@ 1 IN NS ns\nns 1 IN A 127.0.0.1\n%s", c.serial, records))
}

// start starts the process, and returns once it serves. Nothing keeps the port
// free for it: while another's socket has that, it is started again and again.
func (c *coreDNS) start() {
	c.tb.Helper()
	c.launch()
	c.await("an answer", func(m *miekg.Msg) bool {
		select {
		case <-c.exited:
			c.launch()
			return false
		default:
			return m != nil
		}
	})
}

// launch starts the process.
func (c *coreDNS) launch() {
	c.tb.Helper()
	program := os.Getenv(variable)
	if program == "" {
		c.tb.Fatalf("%s is not set to the program coredns of this module: .ci/dns builds it and does", variable)
	}
	cmd, exited := exec.CommandContext(context.Background(), program, "-conf", "Corefile"), make(chan struct{})
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, &c.log, &c.log
	dieWith(cmd)
	if err := cmd.Start(); err != nil {
		c.tb.Fatal(err)
	}
	c.cmd, c.exited = cmd, exited
	go func() { // until stop
		_ = cmd.Wait()
		close(exited)
	}()
}

// stop ends the process, like a machine that is gone: nothing is said.
func (c *coreDNS) stop() {
	if c.cmd != nil {
		_ = c.cmd.Process.Kill()
		<-c.exited
		c.cmd = nil
	}
}

// ask asks the server by a network.
func (c *coreDNS) ask(network, name string, kind uint16) (*miekg.Msg, error) {
	client := &miekg.Client{Net: network, Timeout: time.Second}
	m := new(miekg.Msg).SetQuestion(name, kind)
	m.SetEdns0(1232, false)
	answer, _, err := client.Exchange(m, c.addr)
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// await asks for the zone's SOA until the answer, nil if there is none, is as it
// should be.
func (c *coreDNS) await(what string, met func(*miekg.Msg) bool) {
	c.tb.Helper()
	for began := time.Now(); ; {
		m, err := c.ask("udp", "test.", miekg.TypeSOA)
		if met(m) {
			return
		}
		if time.Since(began) > startWithin {
			c.tb.Fatalf("CoreDNS has not given %s for %s: %v, %v", what, startWithin, m, err)
		}
		wait := time.NewTimer(10 * time.Millisecond) // nothing tells when it serves
		<-wait.C
	}
}

// awaitZone waits until the zone that was written last is served.
func (c *coreDNS) awaitZone() {
	c.tb.Helper()
	c.await("the latest zone", func(m *miekg.Msg) bool {
		if m == nil || len(m.Answer) != 1 {
			return false
		}
		soa, ok := m.Answer[0].(*miekg.SOA)
		return ok && int(soa.Serial) == c.serial
	})
}
