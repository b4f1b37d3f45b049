package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	miekg "github.com/miekg/dns"
)

// TestOneError has a failure be one line that tells each cause once, and is
// bounded.
func TestOneError(t *testing.T) {
	refused := errors.New("connection refused")
	var hosts, codes []error
	for _, server := range []string{"10.0.0.1:53", "10.0.0.2:53"} {
		for i := range 120 {
			for _, kind := range []uint16{miekg.TypeA, miekg.TypeAAAA} {
				hosts = append(hosts, newQueryError(fmt.Sprintf("p%d.", i), kind, server, refused))
			}
		}
	}
	for i := range 500 {
		codes = append(codes, newQueryError("web.", miekg.TypeA, "10.0.0.1:53", fmt.Errorf("RCODE %d", i)))
	}
	for name, tt := range map[string]struct {
		errs []error
		want string
	}{
		"one": {
			[]error{newQueryError("web.", miekg.TypeA, "10.0.0.1:53", refused)},
			"dns: web. A from 10.0.0.1:53: connection refused",
		},
		"two types": {
			[]error{newQueryError("web.", miekg.TypeA, "10.0.0.1:53", refused), newQueryError("web.", miekg.TypeAAAA, "10.0.0.1:53", refused)},
			"dns: web. A, AAAA from 10.0.0.1:53: connection refused",
		},
		"two causes": {
			[]error{newQueryError("web.", miekg.TypeA, "10.0.0.1:53", refused), newQueryError("web.", miekg.TypeAAAA, "10.0.0.1:53", ErrNoData)},
			"dns: web. A from 10.0.0.1:53: connection refused; web. AAAA from 10.0.0.1:53: NOERROR, but no records of that type",
		},
		"many names": {
			hosts,
			"dns: A, AAAA of 120 names, the first of which is p0., from 10.0.0.1:53: connection refused; A, AAAA of 120 names, the first of which is p0., from 10.0.0.2:53: connection refused",
		},
		"many causes": {
			codes,
			"dns: web. A from 10.0.0.1:53: RCODE 0; web. A from 10.0.0.1:53: RCODE 1; web. A from 10.0.0.1:53: RCODE 2; web. A from 10.0.0.1:53: RCODE 3; web. A from 10.0.0.1:53: RCODE 4; " +
				"web. A from 10.0.0.1:53: RCODE 5; web. A from 10.0.0.1:53: RCODE 6; web. A from 10.0.0.1:53: RCODE 7; and 492 more",
		},
		"no question": {
			[]error{errors.New("dns: no server"), errors.New("dns: no server")},
			"dns: no server",
		},
		"several lines": {
			[]error{fmt.Errorf("dns: Resolver: %s", "a\r\nb\n")},
			"dns: Resolver: a, b",
		},
		"a long one": {
			[]error{errors.New(strings.Repeat("é", 1000))},
			"dns: " + strings.Repeat("é", 250) + "…",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := oneError(tt.errs)
			if err == nil || err.Error() != tt.want {
				t.Errorf("it is %q, want %q", err, tt.want)
			}
			if !errors.Is(err, tt.errs[0]) {
				t.Error("it doesn't wrap the first")
			}
		})
	}
	if err := oneError(nil); err != nil {
		t.Errorf("of nothing it is %v", err)
	}
}

// TestBecause has the text of a failure of a connection be the same each time: it
// tells no port of this side.
func TestBecause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("too late"))
	refused := &net.OpError{Op: "read", Net: "udp", Source: &net.UDPAddr{Port: 4711}, Err: os.NewSyscallError("read", syscall.ECONNREFUSED)}
	for name, tt := range map[string]struct {
		ctx  context.Context
		err  error
		want string
	}{
		"refused":  {t.Context(), refused, os.NewSyscallError("read", syscall.ECONNREFUSED).Error()},
		"another":  {t.Context(), io.EOF, "EOF"},
		"too late": {ctx, refused, "too late"},
	} {
		if got := because(tt.ctx, tt.err); got.Error() != tt.want {
			t.Errorf("%s: it is %q, want %q", name, got, tt.want)
		}
	}
}
