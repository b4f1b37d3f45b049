//go:build unix

package mesh

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
)

// linked returns two meshes with a link over TLS, of which the second calls one
// for each message, or echoes requests.
func linked(tb testing.TB, one func()) (from, to *Mesh) {
	tb.Helper()
	start := func(change func(*Config)) *Mesh {
		cfg := Config{Secrets: []string{testSecret}, Bind: "127.0.0.1:0", ReceiveQueue: 1 << 30, ReceiveLarge: 1 << 30}
		change(&cfg)
		m, err := Listen(quiet(cfg))
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = m.Close() })
		return m
	}
	to = start(func(c *Config) {
		c.Handlers = map[string]Handler{"s": func(context.Context, Message) { one() }}
		c.Responders = map[string]Responder{"echo": func(_ context.Context, m Message) ([]byte, error) { return m.Data, nil }}
	})
	from = start(func(*Config) {})
	if err := from.Connect(tb.Context(), to.Self()); err != nil {
		tb.Fatal(err)
	}
	for changed := to.changed.Wait(); !to.linked(from.self.instance); changed = to.changed.Wait() {
		<-changed
	}
	return from, to
}

// measure runs what is measured, and reports the CPU that the process has used,
// too: the time alone tells little on a machine that others use.
func measure(b *testing.B, size int, run func()) {
	b.Helper()
	cpu := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	began := cpu()
	run()
	b.ReportMetric(float64(cpu()-began)/float64(b.N), "cpu-ns/op")
}

// handOver leaves all writing to the writers.
func handOver(b *testing.B, meshes ...*Mesh) {
	b.Helper()
	for _, m := range meshes {
		m.mu.Lock()
		for _, p := range m.peers {
			p.active.out.mu.Lock()
			p.active.out.try = nil
			p.active.out.mu.Unlock()
		}
		m.mu.Unlock()
	}
}

// counter returns a func that is to be called n times, and what is closed then.
func counter(n int) (one func(), all chan struct{}) {
	all = make(chan struct{})
	return func() {
		if n--; n == 0 {
			close(all)
		}
	}, all
}

// BenchmarkOneWay is messages from one sender, against the floor: a TLS
// connection, frames with a length, a channel, and a writer that flushes a
// buffer of 64 KiB when the channel is empty.
func BenchmarkOneWay(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("mesh/%d", size), func(b *testing.B) {
			one, all := counter(b.N)
			from, to := linked(b, one)
			data, node := make([]byte, size), to.Self()
			measure(b, size, func() {
				for range b.N {
					if err := from.Send(b.Context(), node, "s", data); err != nil {
						b.Fatal(err)
					}
				}
				<-all
			})
		})
		b.Run(fmt.Sprintf("mesh, handed over/%d", size), func(b *testing.B) {
			one, all := counter(b.N)
			from, to := linked(b, one)
			handOver(b, from, to)
			data, node := make([]byte, size), to.Self()
			measure(b, size, func() {
				for range b.N {
					if err := from.Send(b.Context(), node, "s", data); err != nil {
						b.Fatal(err)
					}
				}
				<-all
			})
		})
		b.Run(fmt.Sprintf("floor/%d", size), func(b *testing.B) {
			one, all := counter(b.N)
			f := newFloor(b, func([]byte) { one() })
			data := make([]byte, size)
			measure(b, size, func() {
				for range b.N {
					f.frames <- data
				}
				<-all
			})
		})
	}
}

// BenchmarkRoundTrip is 64 bytes there and back, one at a time; by messages, so
// that it is compared with the floor like with like, and by Request. Handed over,
// no sender writes by itself.
func BenchmarkRoundTrip(b *testing.B) {
	for name, tried := range map[string]bool{"": true, ", handed over": false} {
		b.Run("messages"+name, func(b *testing.B) {
			back := make(chan struct{}, 1)
			var from, to *Mesh
			from, to = linked(b, func() { _ = to.Send(context.Background(), from.Self(), "back", make([]byte, 64)) })
			if err := from.Handle("back", func(context.Context, Message) { back <- struct{}{} }); err != nil {
				b.Fatal(err)
			}
			if !tried {
				handOver(b, from, to)
			}
			data, node := make([]byte, 64), to.Self()
			measure(b, len(data), func() {
				for range b.N {
					if err := from.Send(b.Context(), node, "s", data); err != nil {
						b.Fatal(err)
					}
					<-back
				}
			})
		})
		b.Run("request"+name, func(b *testing.B) {
			from, to := linked(b, func() {})
			if !tried {
				handOver(b, from, to)
			}
			data, node := make([]byte, 64), to.Self()
			measure(b, len(data), func() {
				for range b.N {
					if _, err := from.Request(b.Context(), node, "echo", data); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
	b.Run("floor", func(b *testing.B) {
		back := make(chan struct{}, 1)
		f := newFloor(b, nil)
		f.echo(func([]byte) { back <- struct{}{} })
		data := make([]byte, 64)
		measure(b, len(data), func() {
			for range b.N {
				f.frames <- data
				<-back
			}
		})
	})
}

// A floor is the least that could carry messages.
type floor struct {
	frames   chan []byte
	from, to net.Conn
	running  sync.WaitGroup
}

// newFloor has each frame handed to got; nil if echo is to be called.
func newFloor(b *testing.B, got func([]byte)) *floor {
	b.Helper()
	config, err := secretTLS()
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	f := &floor{frames: make(chan []byte, 256), from: tls.Client(raw, config), to: tls.Server(accepted, config)}
	f.running.Go(func() { f.write(f.from, f.frames) })
	if got != nil {
		f.running.Go(func() { f.read(f.to, got) })
	}
	b.Cleanup(func() {
		close(f.frames)
		_, _ = f.from.Close(), f.to.Close()
		f.running.Wait()
	})
	return f
}

// echo has each frame come back.
func (f *floor) echo(got func([]byte)) {
	answers := make(chan []byte, 256)
	f.running.Go(func() { f.write(f.to, answers) })
	f.running.Go(func() {
		defer close(answers)
		f.read(f.to, func(frame []byte) { answers <- frame })
	})
	f.running.Go(func() { f.read(f.from, got) })
}

func (f *floor) write(conn net.Conn, frames <-chan []byte) {
	w := bufio.NewWriterSize(conn, 64<<10)
	for frame := range frames {
		var h [4]byte
		binary.BigEndian.PutUint32(h[:], uint32(len(frame)))
		_, _ = w.Write(h[:])
		_, _ = w.Write(frame)
		if len(frames) == 0 {
			_ = w.Flush()
		}
	}
}

func (f *floor) read(conn net.Conn, got func([]byte)) {
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		var h [4]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(h[:]))
		if _, err := io.ReadFull(r, frame); err != nil {
			return
		}
		got(frame)
	}
}
