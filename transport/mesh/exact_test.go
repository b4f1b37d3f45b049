package mesh

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A feeder fills an exactConn from memory, a piece at a time, and then fails.
type feeder struct {
	pieces [][]byte
	end    error
	given  map[*readBuffer]bool
	fills  int
}

func (f *feeder) conn() *exactConn {
	f.given = map[*readBuffer]bool{}
	return &exactConn{fill: f.fill, buffers: &exactBuffers{}}
}

func (f *feeder) fill(buffers *exactBuffers) (*readBuffer, int, error) {
	if len(f.pieces) == 0 {
		return nil, 0, f.end
	}
	buf := buffers.get()
	n := copy(buf[:], f.pieces[0])
	if f.pieces[0] = f.pieces[0][n:]; len(f.pieces[0]) == 0 {
		f.pieces = f.pieces[1:]
	}
	f.given[buf] = true
	f.fills++
	return buf, n, nil
}

// records makes TLS records with bodies of these lengths.
func records(lengths ...int) (stream []byte) {
	for i, n := range lengths {
		stream = append(stream, 23, 3, 3)
		stream = binary.BigEndian.AppendUint16(stream, uint16(n))
		for j := range n {
			stream = append(stream, byte(i+j))
		}
	}
	return stream
}

// ends are where in a stream its records end.
func ends(stream []byte) (ends []int) {
	for at := 0; at+recordHeader <= len(stream); {
		at += recordHeader + int(binary.BigEndian.Uint16(stream[at+3:]))
		ends = append(ends, at)
	}
	return ends
}

// cut makes pieces of these lengths, over and over.
func cut(stream []byte, lengths ...int) (pieces [][]byte) {
	for i := 0; len(stream) > 0; i++ {
		n := min(max(1, lengths[i%len(lengths)]), len(stream))
		pieces = append(pieces, stream[:n])
		stream = stream[n:]
	}
	return pieces
}

// readExactly reads with buffers of these sizes, over and over, until an error,
// and checks that no read passes the end of a record, nor leaves a buffer behind
// with nothing in it.
func readExactly(t *testing.T, c *exactConn, stream []byte, sizes ...int) error {
	t.Helper()
	var got []byte
	ahead := ends(stream) // of records that aren't read to their end
	for i := 0; ; i++ {
		b := make([]byte, max(1, sizes[i%len(sizes)]))
		n, err := c.Read(b)
		for len(ahead) > 0 && ahead[0] <= len(got) {
			ahead = ahead[1:]
		}
		if len(ahead) > 0 && len(got)+n > ahead[0] {
			t.Fatalf("a read of %d bytes at %d passes the record's end at %d", n, len(got), ahead[0])
		}
		got = append(got, b[:n]...)
		if (c.buf == nil) != (len(c.pending) == 0) {
			t.Fatalf("%d bytes are pending in buffer %p", len(c.pending), c.buf)
		}
		if err != nil {
			if !bytes.Equal(got, stream) {
				t.Fatalf("%d bytes come out as %d others", len(stream), len(got))
			}
			return err
		}
		if n == 0 {
			t.Fatal("a read returns nothing, and no error")
		}
	}
}

func TestExactConn(t *testing.T) {
	t.Parallel()
	const most = 16<<10 + 256 // of a TLS 1.3 record
	broken := errors.New("broken")
	tests := []struct {
		name   string
		stream []byte
		pieces []int
		sizes  []int
		end    error
	}{
		{"one record", records(100), []int{1 << 20}, []int{1 << 20}, io.EOF},
		{"byte by byte in", records(100, 1, 7), []int{1}, []int{1 << 20}, io.EOF},
		{"byte by byte out", records(100, 1, 7), []int{1 << 20}, []int{1}, io.EOF},
		{"byte by byte", records(100, 1, 7), []int{1}, []int{1}, io.EOF},
		{"headers cut", records(3, 3, 3, 3, 3, 3, 3), []int{3, 7}, []int{5, 2}, io.EOF},
		{"many at once", records(slices.Repeat([]int{40}, 2000)...), []int{1 << 20}, []int{1 << 20}, io.EOF},
		{"the largest", records(most, most, most), []int{1 << 20}, []int{1 << 20}, io.EOF},
		{"as crypto/tls asks", records(most, 2, most, 900), []int{1460}, []int{5, most}, io.EOF},
		{"as long as the header can say", records(1<<16-1, 1), []int{1 << 20}, []int{1 << 20}, io.EOF},
		{"empty ones", records(0, 0, 5, 0, 1, 0), []int{4, 2}, []int{9}, io.EOF},
		{"nothing", nil, []int{1}, []int{1}, io.EOF},
		{"ends in a header", records(10, 10)[:17], []int{6}, []int{99}, io.EOF},
		{"ends in a body", records(10, 10)[:24], []int{6}, []int{99}, io.EOF},
		{"breaks in a body", records(10, 10)[:24], []int{6}, []int{99}, broken},
		{"something else", []byte("GET / HTTP/1.1\r\n\r\n"), []int{1 << 20}, []int{4}, broken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := (&feeder{pieces: cut(tt.stream, tt.pieces...), end: tt.end}).conn()
			if n, err := c.Read(nil); n != 0 || err != nil {
				t.Errorf("an empty read: %d, %v", n, err)
			}
			if err := readExactly(t, c, tt.stream, tt.sizes...); err != tt.end { //nolint:errorlint // the very same
				t.Errorf("ends with %v, want %v", err, tt.end)
			}
			if _, err := c.Read(make([]byte, 1)); err != tt.end { //nolint:errorlint // the very same
				t.Errorf("then %v, want %v again", err, tt.end)
			}
		})
	}
}

// TestExactBuffersComeBack: what is read through is used again.
func TestExactBuffersComeBack(t *testing.T) {
	stream := records(slices.Repeat([]int{10}, 1000)...)
	f := &feeder{pieces: cut(stream, recordHeader+10), end: io.EOF}
	if err := readExactly(t, f.conn(), stream, 99); err != io.EOF { //nolint:errorlint // the very same
		t.Error(err)
	}
	if len(f.given) > f.fills/2 { // with the race detector, a pool loses some on purpose
		t.Errorf("%d buffers for %d reads", len(f.given), f.fills)
	}
}

func FuzzExactConn(f *testing.F) {
	f.Add(records(3, 0, 300), []byte{1, 200}, []byte{5, 255})
	f.Add([]byte("no TLS at all, whatever it is"), []byte{3}, []byte{1})
	f.Add(records(10, 10)[:17], []byte{6}, []byte{99})
	f.Fuzz(func(t *testing.T, stream, pieces, sizes []byte) {
		c := (&feeder{pieces: cut(stream, lengths(pieces)...), end: io.EOF}).conn()
		if err := readExactly(t, c, stream, lengths(sizes)...); err != io.EOF { //nolint:errorlint // the very same
			t.Fatal(err)
		}
	})
}

func lengths(b []byte) []int {
	all := []int{1 + len(b)}
	for _, n := range b {
		all = append(all, int(n))
	}
	return all
}

// exactPair is a TCP connection of which one end is exact.
func exactPair(t *testing.T) (*exactConn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	other, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	exact, ok := newExactConn(conn, &exactBuffers{}).(*exactConn)
	if !ok {
		t.Skip("crypto/tls reads by itself on " + runtime.GOOS)
	}
	return exact, other.(*net.TCPConn) //nolint:forcetypeassert // it is one
}

// TestExactConnUnderTLS: what is written in pieces of any size comes out the
// same, both ways at once, and no buffer is held when it has.
func TestExactConnUnderTLS(t *testing.T) {
	config, err := secretTLS()
	if err != nil {
		t.Fatal(err)
	}
	accepted, raw := exactPair(t)
	dialled, ok := newExactConn(raw, accepted.buffers).(*exactConn)
	if !ok {
		t.Fatal("the other end isn't exact")
	}
	server, client := tls.Server(accepted, config), tls.Client(dialled, config)
	var both sync.WaitGroup
	for i, ends := range [][2]*tls.Conn{{server, client}, {client, server}} {
		sent := make([]byte, 1<<20)
		rnd := rand.NewChaCha8([32]byte{byte(i)})
		_, _ = rnd.Read(sent)
		both.Go(func() {
			sizes := rand.New(rand.NewPCG(uint64(i), 1))
			for rest := sent; len(rest) > 0; {
				n := min(1+sizes.IntN(20_000), len(rest))
				if _, err := ends[0].Write(rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
			if err := ends[0].CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			if got, err := io.ReadAll(ends[1]); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes come out as %d, %v", len(sent), len(got), err)
			}
		})
	}
	both.Wait()
	for name, c := range map[string]*exactConn{"accepted": accepted, "dialled": dialled} {
		if c.buf != nil || len(c.pending) > 0 {
			t.Errorf("the %s end holds a buffer with %d bytes", name, len(c.pending))
		}
	}
}

// TestIdleExactConns: those that wait for their peer hold no buffer, though much
// has come on them.
func TestIdleExactConns(t *testing.T) {
	const conns = 100
	var waiting, readers sync.WaitGroup
	stream := records(8000, 8000, 8000, 8000)
	var pairs [conns]struct {
		exact *exactConn
		other *net.TCPConn
	}
	for i := range pairs {
		pairs[i].exact, pairs[i].other = exactPair(t)
	}
	before := liveHeap()
	for _, p := range pairs {
		waiting.Add(1)
		readers.Go(func() {
			var b [512]byte
			for left := len(stream); left > 0; {
				n, err := p.exact.Read(b[:])
				if left -= n; err != nil {
					t.Error(err)
					break
				}
			}
			waiting.Done()
			if _, err := p.exact.Read(b[:]); err != io.EOF { //nolint:errorlint // the very same
				t.Errorf("%v, want EOF", err)
			}
		})
		if _, err := p.other.Write(stream); err != nil {
			t.Fatal(err)
		}
	}
	waiting.Wait()
	if each := (liveHeap() - before) / conns; each > len(readBuffer{})/2 {
		t.Errorf("each holds %d bytes", each)
	}
	for _, p := range pairs {
		_ = p.other.Close()
	}
	readers.Wait()
}

// liveHeap is how many bytes are in use. A pool is empty after two collections.
func liveHeap() int {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// TestExactConnEnds: what ends a read of a TCP connection ends one of these, and
// in the same way.
func TestExactConnEnds(t *testing.T) {
	past := time.Unix(1, 0)
	tests := []struct {
		name string
		end  func(c *exactConn, other *net.TCPConn)
		want error
	}{
		{"the other end closes", func(_ *exactConn, other *net.TCPConn) { _ = other.Close() }, io.EOF},
		{"the other end resets", func(_ *exactConn, other *net.TCPConn) {
			_ = other.SetLinger(0)
			_ = other.Close()
		}, syscall.ECONNRESET},
		{"closed here", func(c *exactConn, _ *net.TCPConn) { _ = c.Close() }, net.ErrClosed},
		{"a deadline", func(c *exactConn, _ *net.TCPConn) { _ = c.SetDeadline(past) }, os.ErrDeadlineExceeded},
		{"a read deadline", func(c *exactConn, _ *net.TCPConn) { _ = c.SetReadDeadline(past) }, os.ErrDeadlineExceeded},
		{"a deadline to come", func(c *exactConn, _ *net.TCPConn) {
			_ = c.SetDeadline(time.Now().Add(10 * time.Millisecond))
		}, os.ErrDeadlineExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, other := exactPair(t)
			stream := records(20)
			if _, err := other.Write(stream[:10]); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 10)
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, stream[:10]) {
				t.Fatalf("%q, %v", got, err)
			}
			ended := make(chan error, 1)
			go func() {
				_, err := c.Read(make([]byte, 99))
				ended <- err
			}()
			tt.end(c, other)
			err := <-ended
			if !errors.Is(err, tt.want) {
				t.Errorf("the read ends with %v, want %v", err, tt.want)
			}
			if c.buf != nil {
				t.Error("a buffer is held")
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
				t.Errorf("%#v is no timeout", err)
			}
			if err := c.SetDeadline(time.Time{}); err != nil { // lifted again, the stream goes on
				t.Fatal(err)
			}
			if _, err := other.Write(stream[10:]); err != nil {
				t.Fatal(err)
			}
			rest := make([]byte, len(stream)-10)
			if _, err := io.ReadFull(c, rest); err != nil || !bytes.Equal(rest, stream[10:]) {
				t.Errorf("then %q, %v", rest, err)
			}
		})
	}
}

// TestOtherConnsAreLeftAsTheyAre: one that isn't of the system's own.
func TestOtherConnsAreLeftAsTheyAre(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if got := newExactConn(a, &exactBuffers{}); got != a {
		t.Errorf("it becomes a %T", got)
	}
}
