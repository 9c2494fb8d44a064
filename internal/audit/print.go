package audit

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Print writes the report as a table for people: a line each check, what it found below it, and the verdict last.
func (r Report) Print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, result := range r.Results {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", result.word(), result.Check, result.Count, result.Meaning)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the audit: %w", err)
	}
	for _, result := range r.Results {
		result.printFindings(w)
	}
	for _, f := range r.Unanswered {
		fmt.Fprintf(w, "\nno answer from Alipay%s: %s", f.about(), f.Detail)
	}
	_, err := fmt.Fprintf(w, "\n%s\n", r.Verdict())
	return err
}

func (r Result) word() string {
	switch {
	case r.Count == 0:
		return "ok"
	case r.Waits:
		return "waits"
	default:
		return "FAULT"
	}
}

func (r Result) printFindings(w io.Writer) {
	if r.Count == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s  %s (%d)\n", r.word(), r.Check, r.Count)
	for _, f := range r.Findings {
		fmt.Fprintf(w, "   %s: %s\n", f.about(), f.Detail)
	}
	if more := r.Count - len(r.Findings); more > 0 {
		fmt.Fprintf(w, "    … and %d more\n", more)
	}
}

func (f Finding) about() string {
	text := ""
	if f.OrderID == 0 && f.PayNo == 0 {
		return " no order"
	}
	if f.OrderID != 0 {
		text += " order " + f.OrderID.String()
	}
	if f.PayNo != 0 {
		text += " attempt " + f.PayNo.String()
	}
	return text
}

// Verdict is the audit in a sentence.
func (r Report) Verdict() string {
	text := fmt.Sprintf("%d checks: nothing is off", len(r.Results))
	if r.Faults > 0 {
		text = fmt.Sprintf("%d checks: %d FAULTS", len(r.Results), r.Faults)
	}
	if r.Waiting > 0 {
		text += fmt.Sprintf("; %d wait for an operator", r.Waiting)
	}
	if len(r.Unanswered) > 0 {
		text += fmt.Sprintf("; NOT CHECKED: %d attempts that Alipay gave no answer about", len(r.Unanswered))
	}
	return text
}
