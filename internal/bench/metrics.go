package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// metric is one line of a Prometheus exposition.
type metric struct {
	name, labels string
	value        float64
}

func readMetrics(ctx context.Context, address string) ([]metric, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: HTTP %d", address, response.StatusCode)
	}
	return parseMetrics(response.Body)
}

func parseMetrics(from io.Reader) ([]metric, error) {
	var metrics []metric
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		cut := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || cut < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[cut+1:], 64)
		if err != nil {
			continue
		}
		name, labels, _ := strings.Cut(line[:cut], "{")
		metrics = append(metrics, metric{name, labels, value})
	}
	return metrics, lines.Err()
}

// sum adds up all series of a metric that keep likes; nil keeps all.
func sum(metrics []metric, name string, keep func(labels string) bool) (total float64) {
	for _, m := range metrics {
		if m.name == name && (keep == nil || keep(m.labels)) {
			total += m.value
		}
	}
	return total
}

// label is the value of one label, of which none here holds a quote.
func label(labels, name string) string {
	_, rest, found := strings.Cut(","+labels, ","+name+`="`)
	if !found {
		return ""
	}
	value, _, _ := strings.Cut(rest, `"`)
	return value
}
