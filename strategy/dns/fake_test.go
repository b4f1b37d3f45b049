package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"

	miekg "github.com/miekg/dns"
)

// A fake is what servers say, by "[network ][server ]name TYPE"; the most
// exact key counts, and what has none exists without records. The text is words,
// then records, those after "ns" and "extra" of these sections, with | between:
//
//	NXDOMAIN ra|web. 5 CNAME db.|ns|. 60 SOA a. b. 1 1 1 1 60
//
// The words are a code, the flags ra, tc and -aa, or what else is wrong.
type fake struct {
	says map[string]string

	mu    sync.Mutex
	asked []string // "network server name TYPE", EDNS0's absence too
}

const soa = "|ns|. 60 SOA a. b. 1 1 1 1 60"

// exchange is an [exchanger].
func (f *fake) exchange(ctx context.Context, network, server string, query *miekg.Msg) (*miekg.Msg, error) {
	p, err := f.answer(network, server, query)
	if errors.Is(err, context.DeadlineExceeded) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	return decode(p, query)
}

// answer is what is sent; context.DeadlineExceeded is for nothing at all.
func (f *fake) answer(network, server string, query *miekg.Msg) ([]byte, error) {
	q := query.Question[0].Name + " " + miekg.TypeToString[query.Question[0].Qtype]
	asked := strings.Join([]string{network, server, q}, " ")
	plain := ""
	if query.IsEdns0() == nil {
		plain = "plain "
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, plain+asked)
	text := soa
	for _, key := range []string{q, network + " " + q, server + " " + q, asked, plain + asked} {
		if t, ok := f.says[key]; ok {
			text = t
		}
	}
	return pack(query, text)
}

// set changes what is said.
func (f *fake) set(key, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.says[key] = text
}

// unset has the next key count again.
func (f *fake) unset(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.says, key)
}

// questions returns what has been asked since the last call.
func (f *fake) questions() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

// pack makes a message of a text.
func pack(query *miekg.Msg, text string) ([]byte, error) {
	m := new(miekg.Msg).SetReply(query)
	m.Authoritative = true
	parts := strings.Split(text, "|")
	section := &m.Answer
	for _, part := range parts[1:] {
		switch part {
		case "ns":
			section = &m.Ns
		case "extra":
			section = &m.Extra
		default:
			rr, err := miekg.NewRR(part)
			if err != nil {
				return nil, fmt.Errorf("the test's record %q: %w", part, err)
			}
			*section = append(*section, rr)
		}
	}
	var wrong []string
	for word := range strings.FieldsSeq(parts[0]) {
		code, isCode := miekg.StringToRcode[word]
		switch {
		case isCode:
			m.Rcode = code
		case word == "BADVERS":
			m.Rcode = miekg.RcodeBadVers
		case word == "RCODE12": // which means nothing
			m.Rcode = 12
		case word == "ra":
			m.RecursionAvailable = true
		case word == "tc":
			m.Truncated = true
		case word == "-aa":
			m.Authoritative = false
		case word == "silent":
			return nil, context.DeadlineExceeded
		case word == "closed":
			return nil, errors.New("connection refused")
		default:
			wrong = append(wrong, word)
		}
	}
	if m.Rcode > 15 {
		m.SetEdns0(udpSize, false)
	}
	p, err := m.Pack()
	for _, w := range wrong {
		p = spoil(p, w)
	}
	return p, err
}

// spoil makes a message wrong.
func spoil(p []byte, how string) []byte {
	switch how {
	case "cut": // within the last record
		return p[:len(p)-3]
	case "bare": // a header that announces more
		return p[:12]
	case "short":
		return p[:5]
	case "nothing":
		return nil
	case "fewer": // records than announced, and no record is cut
		binary.BigEndian.PutUint16(p[6:], binary.BigEndian.Uint16(p[6:])+1)
	case "id":
		p[0]++
	case "query": // not a response
		p[2] &^= 0x80
	case "other": // another question
		p[13]++
	case "notify":
		p[2] |= 4 << 3
	default:
		panic("the test's word " + how)
	}
	return p
}
