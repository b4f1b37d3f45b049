package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	miekg "github.com/miekg/dns"
)

// udpSize is how long an answer by UDP may be: what passes without fragments
// nearly everywhere (https://www.dnsflagday.net/2020/).
const udpSize = 1232

var errStray = errors.New("an answer to another question")

// An exchanger sends a query to a server ("host:port") by a network ("udp" or
// "tcp"), and returns the answer, which is one to that query.
type exchanger func(ctx context.Context, network, server string, query *miekg.Msg) (*miekg.Msg, error)

// newQuery asks for what a name has of a type.
func newQuery(name string, kind uint16, edns bool) *miekg.Msg {
	m := new(miekg.Msg)
	m.SetQuestion(name, kind)
	if edns {
		m.SetEdns0(udpSize, false)
	}
	return m
}

// exchange is the exchanger of real servers. Whatever arrives by UDP and is no
// answer may be forged, and is not believed: the real one is waited for.
func exchange(ctx context.Context, network, server string, query *miekg.Msg) (*miekg.Msg, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, because(ctx, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := &miekg.Conn{Conn: c, UDPSize: udpSize}
	if err := conn.WriteMsg(query); err != nil {
		return nil, because(ctx, err)
	}
	var dropped error
	for {
		p, err := conn.ReadMsgHeader(nil)
		if err != nil && !errors.Is(err, miekg.ErrShortRead) {
			if err = because(ctx, err); dropped != nil {
				err = fmt.Errorf("%w, but %w", err, dropped)
			}
			return nil, err
		}
		m, err := decode(p, query)
		if err == nil {
			return m, nil
		}
		if dropped = err; network == "tcp" {
			return nil, err
		}
	}
}

// because is why a connection failed: if ctx is done, for that. Whence and where
// it was is left out, since the port is another each time, and whoever asks knows
// the server.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// decode reads an answer to a query. A message that is cut off without saying so
// is an error: its part must not pass for the whole.
func decode(p []byte, query *miekg.Msg) (*miekg.Msg, error) {
	m := new(miekg.Msg)
	err := m.Unpack(p)
	switch {
	case len(p) < 12: // the header, without which there is nothing to compare
		return nil, fmt.Errorf("an answer of %d bytes", len(p))
	case m.Id != query.Id || !m.Response || m.Opcode != miekg.OpcodeQuery || !sameQuestion(m, query):
		return nil, errStray
	case m.Truncated:
		return m, nil
	case err != nil:
		return nil, fmt.Errorf("a malformed answer: %w", err)
	case counted(m) != announced(p):
		return nil, fmt.Errorf("a malformed answer: it has %v records of %v", counted(m), announced(p))
	default:
		return m, nil
	}
}

// sameQuestion reports whether m answers the question of query, or says that
// something is wrong with it, for which some leave it out.
func sameQuestion(m, query *miekg.Msg) bool {
	if len(m.Question) == 0 {
		return m.Truncated || m.Rcode != miekg.RcodeSuccess && m.Rcode != miekg.RcodeNameError
	}
	q, asked := m.Question[0], query.Question[0]
	return len(m.Question) == 1 && q.Qtype == asked.Qtype && q.Qclass == asked.Qclass && strings.EqualFold(q.Name, asked.Name)
}

// A message's sections: question, answer, authority, additional.
type counts [4]int

func counted(m *miekg.Msg) counts {
	return counts{len(m.Question), len(m.Answer), len(m.Ns), len(m.Extra)}
}

// announced are the counts of the header (RFC 1035, section 4.1.1).
func announced(p []byte) (c counts) {
	for i := range c {
		c[i] = int(p[4+2*i])<<8 | int(p[5+2*i])
	}
	return c
}
