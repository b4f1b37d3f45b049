// Bench measures how dear the library's work is beside what others do for the
// same: its mesh and its peers run in turn, several rounds, and what is printed
// are medians, their spread and ratios.
//
//	go run . -rounds 5 -only 'forming|memory' -json readings.json
//	go run . -from readings.json -svg plot.svg
//
// What is measured, and how, is told in README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
)

func main() {
	child, err := serveParent()
	if err == nil && !child {
		err = run(os.Args[1:])
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := flags.Int("rounds", 5, "how often to measure each workload")
	only := flags.String("only", "", "measure only the workloads whose name matches this `pattern`")
	smoke := flags.Bool("smoke", false, "small workloads, to see that everything can be measured")
	from := flags.String("from", "", "measure nothing: report what -json has written to this `file`")
	markdown := flags.String("md", "-", "write the table to this `file`; - is the standard output")
	inJSON := flags.String("json", "", "write all readings to this `file`, too; - is the standard output")
	svg := flags.String("svg", "", "draw the ratios and their goals into this `file`, too; - is the standard output")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r, err := readings(*from, *only, *rounds, *smoke)
	if err != nil {
		return err
	}
	return errors.Join(write(*markdown, r.writeMarkdown), write(*inJSON, r.writeJSON), write(*svg, r.writeSVG))
}

// readings are those of a file, or, if it has no name, new ones.
func readings(from, only string, rounds int, smoke bool) (*report, error) {
	if from != "" {
		return readReport(from)
	}
	if rounds < 1 {
		return nil, fmt.Errorf("-rounds is %d; want at least 1", rounds)
	}
	pattern, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	s := fullSizes()
	if smoke {
		s = smokeSizes()
	}
	chosen := slices.DeleteFunc(cases(s), func(c benchCase) bool { return !pattern.MatchString(c.name) })
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-only %q matches no workload", only)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	results, err := measure(ctx, chosen, rounds, func(line string) { fmt.Fprintln(os.Stderr, line) })
	if err != nil {
		return nil, err
	}
	return newReport(results, rounds), nil
}

// write has f write a file: none if the name is empty.
func write(name string, f func(io.Writer) error) error {
	switch name {
	case "":
		return nil
	case "-":
		return f(os.Stdout)
	}
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(f(file), file.Close())
}
