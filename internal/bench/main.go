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

// Options are what the command line says.
type options struct {
	rounds              int
	only                *regexp.Regexp
	smoke               bool
	from                string
	markdown, json, svg string
}

func run(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.from == "" {
		return o.measure()
	}
	r, err := readReport(o.from)
	if err != nil {
		return err
	}
	return o.write(r, true)
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "how often to measure each workload")
	only := flags.String("only", "", "measure only the workloads whose name matches this `pattern`")
	flags.BoolVar(&o.smoke, "smoke", false, "small workloads, to see that everything can be measured")
	flags.StringVar(&o.from, "from", "", "measure nothing: report what -json has written to this `file`")
	flags.StringVar(&o.markdown, "md", "-", "write the table to this `file` after each round; - is the standard output, at the end")
	flags.StringVar(&o.json, "json", "", "write all readings to this `file`, too, in the same way")
	flags.StringVar(&o.svg, "svg", "", "draw the ratios and their goals into this `file`, too, in the same way")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.only, err = regexp.Compile(*only)
	ignored := ""
	flags.Visit(func(f *flag.Flag) {
		if f.Name == "rounds" || f.Name == "only" || f.Name == "smoke" {
			ignored = f.Name
		}
	})
	switch {
	case err != nil:
		return o, fmt.Errorf("-only: %w", err)
	case flags.NArg() > 0:
		return o, fmt.Errorf("there are no arguments beside flags, and %q is given; -help lists the flags", flags.Arg(0))
	case o.from != "" && ignored != "":
		return o, fmt.Errorf("-from measures nothing, and -%s is given: leave one of them out", ignored)
	case o.rounds < 1:
		return o, fmt.Errorf("-rounds is %d; want at least 1", o.rounds)
	}
	return o, nil
}

// measure reports what was measured after each round, so that whatever ends it
// costs no readings but those of its own round.
func (o *options) measure() error {
	s := fullSizes()
	if o.smoke {
		s = smokeSizes()
	}
	chosen := slices.DeleteFunc(cases(s), func(c benchCase) bool { return !o.only.MatchString(c.name) })
	if len(chosen) == 0 {
		return fmt.Errorf("-only %q matches no workload", o.only)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return measure(ctx, chosen, o.rounds, func(line string) { fmt.Fprintln(os.Stderr, line) }, o.write)
}

// write writes what was asked for: to the standard output only at the end.
func (o *options) write(r *report, end bool) error {
	var all []error
	for _, out := range []struct {
		name string
		f    func(io.Writer) error
	}{{o.markdown, r.writeMarkdown}, {o.json, r.writeJSON}, {o.svg, r.writeSVG}} {
		if end || out.name != "-" {
			all = append(all, write(out.name, out.f))
		}
	}
	return errors.Join(all...)
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
