package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// Story is what is known of an order that something was found about. The files in findings/ have all of it; this is what a
// reader without them needs, such as of a run in CI, whose folder goes with the machine.
type Story struct {
	OrderID string          `json:"orderId"`
	Told    json.RawMessage `json:"told,omitempty"`   // as GET /ops/orders/{orderId} tells it
	Events  []string        `json:"events,omitempty"` // of its workflow's latest run
	Log     []string        `json:"log,omitempty"`    // the last lines of our processes that name it
}

// What of the stories is printed.
const (
	storiesShown = 3
	partsShown   = 12 // of each list in a story
	eventsShown  = 40
	linesShown   = 12 // of the logs
	widest       = 400
)

// keepStories keeps what is known of the orders that something was found about, in files, and the essential part of it in
// the report.
func (r *run) keepStories(ctx context.Context, findings []Finding) (stories []Story) {
	if err := os.MkdirAll(r.findingsDir(), 0o750); err != nil {
		r.diary.note("keep the stories: %v", err)
		return nil
	}
	seen := map[string]bool{"": true}
	for _, f := range findings {
		orderID := f.OrderID
		if orderID == "" && f.PayNo != "" {
			_ = r.db.QueryRowContext(ctx, `select order_id::text from xc_pay_record where pay_no = $1`, f.PayNo).Scan(&orderID)
		}
		if seen[orderID] {
			continue
		}
		seen[orderID] = true
		story := Story{OrderID: orderID, Log: r.logLines(orderID, f.PayNo)}
		if err := r.ask(ctx, &story); err != nil {
			r.diary.note("the story of order %s is not whole: %v", orderID, err)
		}
		stories = append(stories, story)
	}
	return stories
}

// ask asks the API and the engine about an order, and writes down what they say.
func (r *run) ask(ctx context.Context, s *Story) error {
	err := r.operator.client.call(ctx, "story", http.MethodGet, "/ops/orders/"+s.OrderID, "", nil, &s.Told)
	if err != nil {
		return err
	}
	var workflow struct{ WorkflowID string }
	err = errors.Join(os.WriteFile(filepath.Join(r.findingsDir(), s.OrderID+".json"), s.Told, 0o600), json.Unmarshal(s.Told, &workflow))
	if err != nil {
		return err
	}
	engine, err := r.stack.Temporal.Dial(ctx, "default")
	if err != nil {
		return err
	}
	defer engine.Close()
	var whole bytes.Buffer
	events := engine.GetWorkflowHistory(ctx, workflow.WorkflowID, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return fmt.Errorf("read the history of %s: %w", workflow.WorkflowID, err)
		}
		text, _ := protojson.Marshal(event)
		whole.Write(append(text, '\n'))
		s.Events = append(s.Events, fmt.Sprint(event.GetEventTime().AsTime().Format(time.TimeOnly), " ", event.GetEventType()))
	}
	return os.WriteFile(filepath.Join(r.findingsDir(), s.OrderID+".history.jsonl"), whole.Bytes(), 0o600)
}

// logLines are the last lines in our processes' logs that name any of these.
func (r *run) logLines(names ...string) (found []string) {
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	logs, _ := filepath.Glob(filepath.Join(r.dir, "log", "*.log"))
	for _, path := range logs {
		var lines []string
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		for scan := bufio.NewScanner(file); scan.Scan(); {
			if slices.ContainsFunc(names, func(name string) bool { return strings.Contains(scan.Text(), name) }) {
				lines = append(lines, strings.TrimSuffix(filepath.Base(path), ".log")+": "+scan.Text())
			}
		}
		_ = file.Close()
		found = append(found, lines[max(0, len(lines)-linesShown):]...)
	}
	return found
}

// lastWords prints the ends of all logs, for a run that came to no verdict.
func (r *run) lastWords() {
	r.diary.note("no verdict; logs and data are in %s", r.dir)
	logs, _ := filepath.Glob(filepath.Join(r.dir, "log", "*.log"))
	for _, path := range logs {
		text, _ := os.ReadFile(path)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		for _, line := range lines[max(0, len(lines)-linesShown):] {
			r.diary.note("%s: %s", filepath.Base(path), cut(line))
		}
	}
}

// print writes the story, each part on a line of bounded length.
func (s Story) print(w io.Writer) {
	fmt.Fprintf(w, "\nthe story of order %s\n", s.OrderID)
	var parts map[string]json.RawMessage
	_ = json.Unmarshal(s.Told, &parts) // nothing was told: nothing to print
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		var list []json.RawMessage
		if json.Unmarshal(parts[name], &list) != nil {
			list = []json.RawMessage{parts[name]}
		}
		for _, one := range list[max(0, len(list)-partsShown):] {
			fmt.Fprintf(w, "  %-12s %s\n", name, cut(string(one)))
		}
	}
	for _, event := range s.Events[max(0, len(s.Events)-eventsShown):] {
		fmt.Fprintf(w, "  %-12s %s\n", "history", event)
	}
	for _, line := range s.Log {
		fmt.Fprintf(w, "  %-12s %s\n", "log", cut(line))
	}
}

func cut(text string) string {
	if runes := []rune(text); len(runes) > widest {
		return string(runes[:widest]) + " …"
	}
	return text
}
