package dns

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	miekg "github.com/miekg/dns"
)

// What servers say of a name that stands for nobody. They are wrapped in a
// [QueryError].
var (
	// ErrNoName is NXDOMAIN: the name doesn't exist.
	ErrNoName = errors.New("NXDOMAIN: there is no such name")
	// ErrNoData is an answer without records of the type: the name exists, but
	// has none.
	ErrNoData = errors.New("NOERROR, but no records of that type")
)

// A QueryError says what came of one question. It is part of what a topology's
// status and events tell of a failure.
type QueryError struct {
	// Name and Type are what was asked for: "web.internal.", "AAAA".
	Name, Type string
	// Server is who was asked: "10.0.0.53:53".
	Server string
	// Err is what came back.
	Err error
}

func (e *QueryError) Error() string {
	return fmt.Sprintf("dns: %s %s from %s: %v", e.Name, e.Type, e.Server, e.Err)
}

// Unwrap returns Err.
func (e *QueryError) Unwrap() error { return e.Err }

// turns is whose turn it is to be asked first, with the option rotate.
type turns struct{ atomic.Uint64 }

// A client asks servers in turn, for one round.
type client struct {
	config

	strategy Strategy
	exchange exchanger
	turn     *turns
}

// ask asks servers in turn until one gives a usable answer, and says which one
// it was. With an error, the message may still be there: a part of an answer.
func (c *client) ask(ctx context.Context, name string, kind uint16) (*miekg.Msg, string, error) {
	first := 0
	if c.rotate {
		first = int(c.turn.Add(1)-1) % len(c.servers)
	}
	errs := make([]error, len(c.servers)) // the last of each
	var part *miekg.Msg
	var from string
	for range c.attempts {
		for i := range c.servers {
			i = (first + i) % len(c.servers)
			server := c.servers[i]
			m, err := c.askServer(ctx, server, name, kind)
			if err == nil {
				return m, server, nil
			}
			errs[i] = &QueryError{Name: name, Type: miekg.TypeToString[kind], Server: server, Err: err}
			if m != nil && m.Rcode == miekg.RcodeSuccess {
				part, from = m, server
			}
			if ctx.Err() != nil {
				return part, from, errors.Join(errs...)
			}
		}
	}
	return part, from, errors.Join(errs...)
}

// askServer asks one server: by UDP and, if the answer is truncated, by TCP.
func (c *client) askServer(ctx context.Context, server, name string, kind uint16) (*miekg.Msg, error) {
	edns := true
	m, err := c.within(ctx, "udp", server, newQuery(name, kind, edns))
	if err != nil {
		return nil, err
	}
	if m.Rcode == miekg.RcodeFormatError || m.Rcode == miekg.RcodeNotImplemented || m.Rcode == miekg.RcodeBadVers {
		edns = false // RFC 6891, section 7: an old server
		if m, err = c.within(ctx, "udp", server, newQuery(name, kind, edns)); err != nil {
			return nil, err
		}
	}
	if m.Truncated {
		whole, err := c.within(ctx, "tcp", server, newQuery(name, kind, edns))
		if err != nil {
			return m, fmt.Errorf("truncated by UDP, and by TCP: %w", err)
		}
		if err := usable(whole); err != nil && len(whole.Answer) == 0 {
			return m, fmt.Errorf("truncated by UDP, and by TCP: %w", err)
		}
		m = whole
	}
	return m, usable(m)
}

// within bounds an exchange.
func (c *client) within(ctx context.Context, network, server string, query *miekg.Msg) (*miekg.Msg, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("no answer by %s within %s", network, c.timeout))
	defer cancel()
	return c.exchange(ctx, network, server, query)
}

// usable says why an answer says nothing about its question, or not all; nil if
// it does.
func usable(m *miekg.Msg) error {
	switch {
	case m.Rcode != miekg.RcodeSuccess && m.Rcode != miekg.RcodeNameError:
		return errors.New(codeText(m.Rcode))
	case m.Truncated:
		return errors.New("truncated, even by TCP")
	case m.Rcode == miekg.RcodeSuccess && len(m.Answer) == 0 && !m.Authoritative && !m.RecursionAvailable:
		return errors.New("a server that neither knows the name nor asks others (a referral)")
	default:
		return nil
	}
}

func codeText(code int) string {
	text, known := miekg.RcodeToString[code]
	switch {
	case code == miekg.RcodeBadVers: // which TSIG, that isn't used, calls BADSIG
		return "BADVERS"
	case !known:
		return fmt.Sprintf("RCODE %d", code)
	default:
		return text
	}
}
