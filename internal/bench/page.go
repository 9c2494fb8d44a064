package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// paid is the pay record's status 支付成功.
const paid = "601002"

// page is a learner's open page: the stream of events about one pay record.
type page struct {
	paid  chan time.Time // when it was told of the payment
	ended chan error     // why it was told nothing more
	leave context.CancelFunc
}

// openPage opens the stream, and returns once it has told how the record stands.
func (s *shop) openPage(ctx context.Context, token, payNo string) (*page, error) {
	ctx, leave := context.WithCancel(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.stack.APIURL+"/orders/events?payNo="+payNo, nil)
	if err != nil {
		leave()
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := s.http.Do(request) //nolint:bodyclose // whoever reads the stream closes it
	if err != nil {
		leave()
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		leave()
		return nil, errors.Join(fmt.Errorf("GET /orders/events: HTTP %d", response.StatusCode), response.Body.Close())
	}
	p := &page{paid: make(chan time.Time, 1), ended: make(chan error, 1), leave: leave}
	first := make(chan struct{})
	go func() {
		defer func() { _ = response.Body.Close() }()
		p.ended <- p.read(bufio.NewScanner(response.Body), first)
	}()
	select {
	case <-first:
		return p, nil
	case err := <-p.ended:
		leave()
		return nil, err
	}
}

func (p *page) read(lines *bufio.Scanner, first chan<- struct{}) error {
	told := false
	for lines.Scan() {
		data, isData := strings.CutPrefix(lines.Text(), "data: ")
		if !isData {
			continue
		}
		at := time.Now()
		var record struct{ Status string }
		if err := json.Unmarshal([]byte(data), &record); err != nil {
			return fmt.Errorf("an event that is no pay record: %w", err)
		}
		if !told {
			told = true
			close(first)
		}
		if record.Status == paid {
			p.paid <- at
			return nil
		}
	}
	return errors.Join(errors.New("the stream of events ended before it told of the payment"), lines.Err())
}

// await waits until the page has been told of the payment.
func (p *page) await(ctx context.Context) (time.Time, error) {
	select {
	case at := <-p.paid:
		return at, nil
	case err := <-p.ended:
		select {
		case at := <-p.paid: // both are there when it has ended well
			return at, nil
		default:
			return time.Time{}, err
		}
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}
