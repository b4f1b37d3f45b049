package main

import (
	"context"
	"time"
)

// writeSize is how many bytes go in one write to a stream.
const writeSize = 64 * kib

// A pour is what writes to one stream have come to.
type pour struct {
	flow float64 // bytes that have come, a second
	cpu  float64 // seconds of both processes, a byte
}

// streamsCase writes to one stream as fast as it takes it.
func streamsCase(d time.Duration) benchCase {
	flow := func(p pour) float64 { return p.flow }
	mebi := func(p pour) float64 { return p.cpu * mib }
	all := []measured[pour]{
		{metric{"bytes", unitFlow, kindBare, atLeast(0.95).ofPeer()}, flow},
		{metric{"CPU of a MiB", unitSeconds, kindBare, goal{}}, mebi},
		{metric{"bytes", unitFlow, kindYamux, goal{}}, flow},
		{metric{"CPU of a MiB", unitSeconds, kindYamux, goal{}}, mebi},
	}
	return besideCase("streams, writes of 64 KiB", all,
		func(ctx context.Context, kind string) (pour, error) { return measureStream(ctx, kind, d) })
}

func measureStream(ctx context.Context, kind string, d time.Duration) (pour, error) {
	both, err := startCrowd(ctx, 2)
	if err != nil {
		return pour{}, err
	}
	defer both.stop()
	p := &pair{from: both[0], to: both[1], all: both}
	at := TalkArgs{Kind: kind}
	if err := p.to.call("Talk.Accept", kind, &at.Addr); err != nil {
		return pour{}, err
	}
	if err := p.from.call("Talk.Open", at, new(nothing)); err != nil {
		return pour{}, err
	}
	before, _, err := p.write(warmUp(d))
	if err != nil {
		return pour{}, err
	}
	used, err := p.usage()
	if err != nil {
		return pour{}, err
	}
	sent, arrived, err := p.write(d)
	if err != nil {
		return pour{}, err
	}
	after, err := p.usage()
	n := float64(sent.Total - before.Total)
	return pour{flow: n / (arrived - sent.Began).Seconds(), cpu: cpuSince(used, after).Seconds() / n}, err
}

// write has from write for a while, and waits until all has come. It returns when
// the last byte came.
func (p *pair) write(d time.Duration) (sent Sent, arrived time.Duration, err error) {
	if err := p.from.call("Talk.Write", d, &sent); err != nil {
		return sent, 0, err
	}
	err = p.to.call("Talk.Arrived", sent.Total, &arrived)
	return sent, arrived, err
}
