package rancher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/libcluster-go/cluster"
)

const (
	// hold is how long the server is asked to wait for a change, in whole
	// seconds. It also bounds how late it is noticed that the server is mute.
	hold = 30 * time.Second
	// heldLeast is from when on a request counts as held.
	heldLeast = 2500 * time.Millisecond
	// overshoot is how much longer the server takes: it looks every 5 seconds.
	overshoot = 5 * time.Second
	// spacing is the least time between two looks. It bounds what a busy
	// environment costs, whose version changes with each of its containers.
	spacing = 50 * time.Millisecond

	// maxVersion is how long a version may be, in bytes. It is a UUID of 36.
	maxVersion = 200

	retryMin = 100 * time.Millisecond
	retryMax = 30 * time.Second
)

// A poller asks the server again and again.
type poller struct {
	strategy         Strategy // with defaults
	client           *http.Client
	version, content *url.URL
	roster           *cluster.Roster
}

func (p *poller) run(ctx context.Context) {
	known := "" // the version whose content was told; empty after a failure
	for failures := 0; ; {
		began, confirm := time.Now(), p.roster.ConfirmWithin()
		version, err := p.look(ctx, known, confirm)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			p.fail(err)
			failures++
		} else {
			failures = 0
		}
		held := time.Since(began)
		if version != known || confirm > 0 && held >= confirm/2 {
			held = hold // a change was waited for, for as long as there was time
		}
		known = version
		wait := pause(p.strategy.Interval, failures, held, rand.Float64())
		if confirm := p.roster.ConfirmWithin(); confirm > 0 {
			wait = min(wait, confirm/2)
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// look waits for another version than the known one and tells what the service
// is then. The version is asked for first: a change in between makes the next
// wait a short one. While confirm is positive, the latest answer was one of
// nobody, which may be a mistake: whatever becomes of the version, the service is
// asked for once half of that time has passed. The other half is for the pause.
func (p *poller) look(ctx context.Context, known string, confirm time.Duration) (version string, err error) {
	patience := hold + overshoot + requestTimeout
	if confirm > 0 {
		patience = min(patience, confirm/2)
	}
	version, err = p.wait(ctx, known, patience)
	if confirm > 0 && errors.Is(err, context.DeadlineExceeded) {
		version, err = known, nil // whether the server is mute shows next
	}
	if err != nil || version == known && confirm == 0 {
		return version, err
	}
	if err := p.tell(ctx); err != nil {
		return "", err
	}
	return version, nil
}

// wait returns the version as soon as it isn't known any more, and known if the
// server got tired of that. It waits for an answer no longer than patience.
func (p *poller) wait(ctx context.Context, known string, patience time.Duration) (version string, err error) {
	u, timeout := *p.version, min(requestTimeout, patience)
	if known != "" {
		u.RawQuery = url.Values{"wait": {"true"}, "value": {known}, "maxWait": {strconv.Itoa(int(hold / time.Second))}}.Encode()
		timeout = patience
	}
	body, err := p.get(ctx, &u, timeout)
	if err != nil {
		return "", err
	}
	err = json.Unmarshal(body, &version)
	switch {
	case err != nil:
	case version == "":
		err = errors.New("there is no version")
	case len(version) > maxVersion:
		err = fmt.Errorf("the version has %d bytes; want at most %d", len(version), maxVersion)
	}
	if err != nil {
		return "", unexpected(&u, body, err)
	}
	return version, nil
}

// tell asks for the service and tells the roster. That a container has no right
// address is told, too, and is no error: asking again would not help.
func (p *poller) tell(ctx context.Context) error {
	body, err := p.get(ctx, p.content, requestTimeout)
	if err != nil {
		return err
	}
	containers, err := parse(body)
	if err != nil {
		return unexpected(p.content, body, err)
	}
	nodes, keep, bad := p.strategy.nodes(containers)
	if bad != nil {
		if len(nodes) > 0 {
			p.roster.Add(nodes...)
		}
		p.fail(fmt.Errorf("GET %s: %w", p.content.Redacted(), bad))
		return nil
	}
	p.roster.Replace(nodes, keep...)
	return nil
}

func (p *poller) fail(err error) {
	p.roster.Fail(briefError{fmt.Errorf("rancher: %w", err)})
}

// pause is how long to wait before the next look, after so many failures in a
// row, or when the server held the last request for a time. random, in [0,1), is
// the source of the jitter.
func pause(interval time.Duration, failures int, held time.Duration, random float64) time.Duration {
	if failures > 0 {
		d := retryMin
		for ; failures > 1 && d < retryMax; failures-- {
			d *= 2
		}
		d = min(d, interval, retryMax)
		return max(spacing, d/2+time.Duration(random*float64(d/2)))
	}
	if held > heldLeast { // it holds requests
		return spacing
	}
	return max(spacing, time.Duration(float64(interval)*(0.9+0.2*random))-held)
}

// sleep waits for d, and reports false if ctx is done before that.
func sleep(ctx context.Context, d time.Duration) bool {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-ctx.Done():
		return false
	}
}
