package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestMain may be a child of the benchmarks.
func TestMain(m *testing.M) {
	if child, err := serveParent(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	} else if child {
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// BenchmarkCase measures each workload beside its peers, one round an
// iteration, as the command does.
func BenchmarkCase(b *testing.B) {
	for _, c := range cases(fullSizes()) {
		b.Run(strings.ReplaceAll(c.name, " ", "_"), func(b *testing.B) {
			results := newResults(c)
			for round := 0; b.Loop(); round++ {
				readings, err := c.run(b.Context(), round)
				if err != nil {
					b.Fatal(err)
				}
				for i, r := range readings {
					results[i].add(r)
				}
			}
			for _, r := range results {
				reportMedians(b, r)
			}
		})
	}
}

// reportMedians reports under names that a benchmark's units may have.
func reportMedians(b *testing.B, r result) {
	b.Helper()
	row := r.row()
	name := func(parts ...string) string { return strings.ReplaceAll(strings.Join(parts, "-"), " ", "_") }
	b.ReportMetric(row.Summary.Median, name("mesh", r.metric.name, string(row.Unit)))
	if row.PeerSummary != nil {
		b.ReportMetric(row.PeerSummary.Median, name(row.Peer, r.metric.name, string(row.Unit)))
		b.ReportMetric(row.RatioSummary.Median, name("ratio-to", row.Peer, r.metric.name))
	}
}

// BenchmarkForming does in its own process what the workload of that name does
// in a child, so that it can be profiled.
func BenchmarkForming(b *testing.B) {
	if err := raiseFiles(); err != nil {
		b.Fatal(err)
	}
	for name, form := range map[string]func(int, *Cost) error{"mesh": Forming{}.Mesh, "bare_TLS": Forming{}.Bare} {
		for _, n := range fullSizes().forming {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				var sum Cost
				for b.Loop() {
					var c Cost
					if err := form(n, &c); err != nil {
						b.Fatal(err)
					}
					sum.CPU += c.CPU
					sum.Wall += c.Wall
				}
				pairs := float64(b.N * n * (n - 1) / 2)
				b.ReportMetric(sum.CPU.Seconds()*1e6/pairs, "cpu-µs/pair")
				b.ReportMetric(sum.Wall.Seconds()/float64(b.N), "formed-s/op")
			})
		}
	}
}

// BenchmarkOneWay has both sides in its own process, so that they can be
// profiled. An iteration is as many messages as are sent in the workload's time.
func BenchmarkOneWay(b *testing.B) {
	for _, kind := range []string{kindMesh, kindFloor} {
		for _, size := range []int{64, kib, 64 * kib} {
			b.Run(strings.ReplaceAll(kind+"/"+sizeName(size), " ", "_"), func(b *testing.B) {
				var from, to Talk
				at := TalkArgs{Kind: kind}
				if err := errors.Join(to.Listen(at, &at.Addr), from.Dial(at, nil)); err != nil {
					b.Fatal(err)
				}
				var sent Sent
				var wall, arrived time.Duration
				before, err := cpuTime()
				if err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					args := FloodArgs{Size: size, Senders: 1, For: fullSizes().talk}
					if err := errors.Join(from.Flood(args, &sent), to.Arrived(sent.Total, &arrived)); err != nil {
						b.Fatal(err)
					}
					wall += arrived - sent.Began
				}
				after, err := cpuTime()
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(sent.Total)/wall.Seconds(), "messages/s")
				b.ReportMetric(float64(after-before)/float64(sent.Total), "cpu-ns/message")
			})
		}
	}
}
