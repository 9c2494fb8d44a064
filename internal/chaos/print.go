package chaos

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// Print writes the report as tables for people, the verdict last.
func (r Report) Print(w io.Writer) error {
	fmt.Fprintf(w, "\nchaos: %d orders, %g minutes, seed %d, %d of api and worker each\n", r.Orders, r.Minutes, r.Seed, r.Replicas)
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, section := range []struct {
		title  string
		counts map[string]int
	}{
		{"what went wrong", r.Faults}, {"how requests were answered", r.Answers},
		{"what an operator decided", r.Decisions}, {"how it ended", r.Endings},
	} {
		fmt.Fprintf(table, "\n%s\t\n", section.title)
		for _, what := range slices.Sorted(maps.Keys(section.counts)) {
			fmt.Fprintf(table, "  %s\t%d\n", what, section.counts[what])
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	fmt.Fprintf(w, "\nquiet %.0f s after the last fault; %d dead letters replayed; %d sweeps by hand\n", r.CalmSeconds, r.Replayed, r.Sweeps)
	for _, swept := range r.Swept {
		fmt.Fprintf(w, "  sweep: %s\n", swept)
	}
	fmt.Fprintf(w, "audit: %s\n", r.Audit.Verdict())
	for _, left := range r.LeftOut {
		fmt.Fprintf(w, "not tried: %s\n", left)
	}
	for _, story := range r.Stories[:min(storiesShown, len(r.Stories))] {
		story.print(w)
	}
	if len(r.Stories) > storiesShown {
		fmt.Fprintf(w, "\nand the stories of %d more orders\n", len(r.Stories)-storiesShown)
	}
	for _, line := range r.Errors {
		fmt.Fprintf(w, "error: %s\n", cut(line))
	}
	for _, f := range r.Findings {
		fmt.Fprintf(w, "FOUND  %s\n", f)
	}
	if !r.Failed() {
		_, err := fmt.Fprintf(w, "\nnothing lost, nothing double, nothing stuck\n")
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d FOUND. Logs, data and the orders' stories are in %s\nagain: %s\n", len(r.Findings), r.Dir, r.Again)
	return err
}

// Print writes the plan, a line each step.
func (p Plan) Print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, s := range p.Steps {
		fmt.Fprintf(table, "  %6.1f s\t%s\t%s\tfor %v\n", s.At.Seconds(), s.Kind, s.Target, s.For)
	}
	for _, c := range p.Customers {
		fmt.Fprintf(table, "  %6.1f s\t%s\t%s %s\t%s, refund %q\n", c.At.Seconds(), c.User, c.Type, c.Goods, c.Does, c.Refund)
	}
	return table.Flush()
}
