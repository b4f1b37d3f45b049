package rancher

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// requestTimeout is for a request that the server isn't asked to hold.
	requestTimeout = 5 * time.Second
	// maxBody bounds an answer; it is some 10,000 containers.
	maxBody = 8 << 20
	// maxExcerpt is how much of an answer an error quotes, in bytes.
	maxExcerpt = 200
	// maxError is how long an error is whose parts have no bound: each of many
	// containers may have a bad address, and a bad address may be long.
	maxError = 1000
)

// client returns what makes the requests, and what ends whatever it has left. A
// connection serves one request, so that each finds the server anew where its
// name leads then.
func (s Strategy) client() (client *http.Client, closeIdle func()) {
	if s.Client == nil {
		dialer := net.Dialer{Timeout: requestTimeout}
		client = &http.Client{Transport: &http.Transport{
			DialContext:         dialer.DialContext,
			TLSHandshakeTimeout: requestTimeout,
			DisableKeepAlives:   true,
		}}
		closeIdle = client.CloseIdleConnections
	} else {
		c := *s.Client
		client, closeIdle = &c, func() {}
	}
	client.Timeout = 0
	if client.CheckRedirect == nil {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return client, closeIdle
}

// get returns the whole body of an answer that may be one. Its error says what
// was asked and what was answered.
func (p *poller) get(ctx context.Context, u *url.URL, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("there is no answer within %s: %w", timeout, context.DeadlineExceeded))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err // which says what was asked
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if err := check(u, resp); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("GET %s: %w; it began with %s", u.Redacted(), context.Cause(ctx), excerpt(body))
	case err != nil:
		return nil, fmt.Errorf("GET %s: the answer breaks off after %d bytes: %w", u.Redacted(), len(body), err)
	case len(body) > maxBody:
		return nil, fmt.Errorf("GET %s: the answer has more than %d bytes", u.Redacted(), maxBody)
	}
	return body, nil
}

// check refuses what can't be an answer. The server says text/plain even of JSON.
func check(u *url.URL, resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		begin, _ := io.ReadAll(io.LimitReader(resp.Body, maxExcerpt+1)) // the status is what counts
		status := resp.Status
		if to := resp.Header.Get("Location"); to != "" {
			to, _, _ = strings.Cut(to, "?") // a query may be as secret as a password
			to, _, _ = strings.Cut(to, "#")
			status += " to " + excerpt([]byte(redact(to)))
		}
		return fmt.Errorf("GET %s: %s: %s", u.Redacted(), status, excerpt(begin))
	}
	is := resp.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(is)
	if is != "" && (err != nil || media != "text/plain" && media != "application/json") {
		begin, _ := io.ReadAll(io.LimitReader(resp.Body, maxExcerpt+1))
		return fmt.Errorf("GET %s: the answer is %q; want JSON: %s", u.Redacted(), is, excerpt(begin))
	}
	return nil
}

// A briefError is one that says at most maxError bytes: of a longer one the begin,
// which is what was asked, and the end, which is why that failed.
type briefError struct{ error }

func (e briefError) Error() string {
	s := e.error.Error()
	if len(s) <= maxError {
		return s
	}
	const gap = "…"
	half := (maxError - len(gap)) / 2
	return strings.ToValidUTF8(s[:half], "") + gap + strings.ToValidUTF8(s[len(s)-half:], "")
}

func (e briefError) Unwrap() error { return e.error }

// unexpected is the error of an answer that isn't what was asked for.
func unexpected(u *url.URL, body []byte, err error) error {
	return fmt.Errorf("GET %s: %w: %s", u.Redacted(), err, excerpt(body))
}

// excerpt quotes the begin of a body.
func excerpt(body []byte) string {
	if len(body) <= maxExcerpt {
		return fmt.Sprintf("%q", body)
	}
	return fmt.Sprintf("%q…", strings.ToValidUTF8(string(body[:maxExcerpt]), ""))
}
