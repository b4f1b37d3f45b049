package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
)

const (
	frameBuffer  = 64 * kib
	frameChannel = 256 // frames
)

// frames are the least that could carry messages on a stream: each with its
// length before it, through a channel to a goroutine that writes into a buffer,
// and flushes that when the channel is empty.
type frames chan []byte

// newFrames has a stream read and written until it ends.
func newFrames(conn net.Conn, got receiver) frames {
	f := make(frames, frameChannel)
	go f.write(conn)
	go f.read(conn, got)
	return f
}

// send does without a select, as the least: if the stream ends, so do both
// processes.
func (f frames) send(data []byte) error {
	f <- data
	return nil
}

func (f frames) write(conn net.Conn) {
	w := bufio.NewWriterSize(conn, frameBuffer)
	var h [4]byte
	for data := range f {
		binary.BigEndian.PutUint32(h[:], uint32(len(data)))
		_, _ = w.Write(h[:])
		_, err := w.Write(data)
		if err == nil && len(f) == 0 {
			err = w.Flush()
		}
		if err != nil {
			_ = conn.Close() // and drops what is sent from here on
		}
	}
}

func (f frames) read(conn net.Conn, got receiver) {
	r := bufio.NewReaderSize(conn, frameBuffer)
	answer := f.send // once, as it would be allocated each time
	var h [4]byte
	for {
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return
		}
		data := make([]byte, binary.BigEndian.Uint32(h[:]))
		if _, err := io.ReadFull(r, data); err != nil {
			return
		}
		got(data, answer)
	}
}

// A frameCarrier has the frames of one stream, or of a stream for each sender.
type frameCarrier struct {
	one  frames
	open func() (net.Conn, error) // nil if all share one
	got  receiver
}

func listenFrames(kind string, got receiver) (carrier, string, error) {
	l, addr, err := listenStreams(streamsOf(kind))
	if err != nil {
		return nil, "", err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // whoever waits for a message tells
			}
			newFrames(conn, got)
		}
	}()
	return nil, addr, nil
}

func dialFrames(ctx context.Context, kind, addr string, got receiver) (carrier, error) {
	open, err := dialStreams(ctx, streamsOf(kind), addr)
	if err != nil || kind != kindFloor {
		return &frameCarrier{open: open, got: got}, err
	}
	conn, err := open()
	if err != nil {
		return nil, err
	}
	return &frameCarrier{one: newFrames(conn, got)}, nil
}

// streamsOf is what a kind of carrier has its frames on.
func streamsOf(kind string) string {
	if kind == kindFloor {
		return kindBare
	}
	return kind
}

func (c *frameCarrier) sender() (sender, error) {
	if c.open == nil {
		return c.one.send, nil
	}
	conn, err := c.open()
	if err != nil {
		return nil, err
	}
	return newFrames(conn, c.got).send, nil
}
