package main

import (
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// serveNATS runs a server until the process ends.
func serveNATS() (addr string, err error) {
	c, err := bareTLS()
	if err != nil {
		return "", err
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, TLS: true, TLSConfig: c,
		NoLog: true, NoSigs: true, MaxPending: unbounded, WriteDeadline: talkWithin,
	})
	if err != nil {
		return "", err
	}
	s.Start()
	if !s.ReadyForConnections(talkWithin) {
		return "", errors.New("the NATS server isn't ready")
	}
	return s.Addr().String(), nil
}

// A natsCarrier publishes on one subject, and is subscribed to another.
type natsCarrier struct {
	conn *nats.Conn
	to   string
}

func connectNATS(addr, to, own string, got receiver) (*natsCarrier, error) {
	c, err := bareTLS()
	if err != nil {
		return nil, err
	}
	conn, err := nats.Connect("nats://"+addr, nats.Secure(c), nats.Timeout(talkWithin))
	if err != nil {
		return nil, err
	}
	carrier := &natsCarrier{conn: conn, to: to}
	answer := carrier.send
	sub, err := conn.Subscribe(own, func(m *nats.Msg) { got(m.Data, answer) })
	if err != nil {
		return nil, err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	return carrier, conn.FlushTimeout(time.Minute)
}

func (c *natsCarrier) send(data []byte) error { return c.conn.Publish(c.to, data) }

func (c *natsCarrier) sender() (sender, error) { return c.send, nil }
