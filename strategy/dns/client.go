package dns

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// A QueryError says what came of one question. It is in what a topology's status
// and events tell of a failure: one for each cause, the first of those with it.
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

func newQueryError(name string, kind uint16, server string, err error) error {
	return &QueryError{Name: name, Type: miekg.TypeToString[kind], Server: server, Err: err}
}

// turns is whose turn it is to be asked first, with the option rotate.
type turns struct{ atomic.Uint64 }

// A client asks servers in turn, for one round.
type client struct {
	config

	strategy Strategy
	exchange exchanger
	turn     *turns
	// silent says of each server whether a question of this round has timed out
	// there. It is asked last then, or each of many questions would wait for it.
	silent []atomic.Bool
}

func newClient(c config, s Strategy, exchange exchanger, turn *turns) *client {
	return &client{config: c, strategy: s, exchange: exchange, turn: turn, silent: make([]atomic.Bool, len(c.servers))}
}

// ask asks servers in turn until one gives a usable answer, and says which one
// it was. With errors, the message may still be there: a part of an answer.
func (c *client) ask(ctx context.Context, name string, kind uint16) (m *miekg.Msg, server string, errs []error) {
	first := 0
	if c.rotate {
		first = int(c.turn.Add(1)-1) % len(c.servers)
	}
	last := make([]error, len(c.servers)) // of each server
	for range c.attempts {
		for _, i := range c.order(first) {
			said, err := c.askServer(ctx, i, name, kind)
			if err == nil {
				return said, c.servers[i], nil
			}
			last[i] = newQueryError(name, kind, c.servers[i], err)
			if said != nil && said.Rcode == miekg.RcodeSuccess {
				m, server = said, c.servers[i]
			}
			if ctx.Err() != nil {
				return m, server, present(last)
			}
		}
	}
	return m, server, present(last)
}

// present leaves out those that are nil.
func present(errs []error) []error {
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

// order is that in which servers are asked: from the first on, the silent ones
// last.
func (c *client) order(first int) []int {
	var good, silent []int
	for i := range c.servers {
		i = (first + i) % len(c.servers)
		if c.silent[i].Load() {
			silent = append(silent, i)
		} else {
			good = append(good, i)
		}
	}
	return append(good, silent...)
}

// askServer asks one server: by UDP and, if the answer is truncated, by TCP.
func (c *client) askServer(ctx context.Context, server int, name string, kind uint16) (*miekg.Msg, error) {
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
func (c *client) within(ctx context.Context, network string, server int, query *miekg.Msg) (*miekg.Msg, error) {
	bounded, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("no answer by %s within %s", network, c.timeout))
	defer cancel()
	m, err := c.exchange(bounded, network, c.servers[server], query)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		c.silent[server].Store(true)
	}
	return m, err
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
