package sandbox

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxDeliveries bounds how many attempts run at once.
	maxDeliveries = 32
	// reorderHold is how long a notify waits for a later one to overtake it.
	reorderHold = 2 * time.Second
	// ackText is the whole body that ends the resends (Alipay, asynchronous notify).
	ackText = "success"
	// maxAnswer is how much of an answer is read; the record keeps maxAnswerKept bytes.
	maxAnswer, maxAnswerKept = 4096, 200
)

// The Content-Types that Alipay's notifies were seen with. The second is no valid media type, and deliveries alternate
// between them.
const (
	plainForm = "application/x-www-form-urlencoded; charset=%s"
	oddForm   = "application/x-www-form-urlencoded; text/html; charset=%s"
)

// due is a notification's next attempt. An entry whose time is no longer the notification's NextAt is stale.
type due struct {
	at  time.Time
	seq int64
	id  string
}

type dueHeap []due

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	return cmp.Or(h[i].at.Compare(h[j].at), cmp.Compare(h[i].seq, h[j].seq)) < 0
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)   { *h = append(*h, x.(due)) } //nolint:forcetypeassert // only due is pushed
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// agenda is the queue of attempts to come, by time.
type agenda struct {
	mu   sync.Mutex
	heap dueHeap
	wake chan struct{}
}

func newAgenda() *agenda { return &agenda{wake: make(chan struct{}, 1)} }

func (a *agenda) add(n notification) {
	if n.NextAt.IsZero() {
		return
	}
	a.mu.Lock()
	heap.Push(&a.heap, due{n.NextAt, n.Seq, n.ID})
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default: // a wake-up is already waiting
	}
}

// next takes the first entry that is due, or says how long to wait for one.
func (a *agenda) next(now time.Time) (entry due, wait time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.heap) == 0 {
		return due{}, time.Hour, false
	}
	if wait := a.heap[0].at.Sub(now); wait > 0 {
		return due{}, wait, false
	}
	return heap.Pop(&a.heap).(due), 0, true //nolint:forcetypeassert // only due is pushed
}

// Run delivers notifies until ctx ends, and returns nil when the last attempt is over. Attempts that the end cuts off
// do not count: they are made again after a restart.
func (s *Server) Run(ctx context.Context) error {
	slots := make(chan struct{}, maxDeliveries)
	var running sync.WaitGroup
	defer running.Wait()
	for {
		entry, wait, ok := s.agenda.next(time.Now())
		if !ok {
			if !sleep(ctx, wait, s.agenda.wake) {
				return nil
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			s.agenda.add(notification{ID: entry.id, Seq: entry.seq, NextAt: entry.at})
			return nil
		}
		running.Go(func() {
			defer func() { <-slots }()
			s.attend(ctx, entry)
		})
	}
}

// sleep waits for d or a wake-up; false means that ctx has ended.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-timer.C:
	}
	return true
}

// attend makes the attempt that entry stands for, unless it is stale.
func (s *Server) attend(ctx context.Context, entry due) {
	n, ok := s.notification(entry.id)
	if !ok || n.Acknowledged || !n.NextAt.Equal(entry.at) {
		return
	}
	attempts := s.deliver(ctx, n)
	if ctx.Err() != nil {
		s.agenda.add(n)
		return
	}
	s.settle(n.ID, attempts, true)
	s.releaseHeld(n.Seq)
}

func (s *Server) notification(id string) (n notification, ok bool) {
	s.store.view(func(st *store) { n, ok = st.notify(id) })
	return n, ok
}

// resend is an attempt out of turn; the schedule stays as it is, unless the merchant acknowledges.
func (s *Server) resend(ctx context.Context, id string) (notification, error) {
	n, ok := s.notification(id)
	if !ok {
		return n, errNoSuchNotify
	}
	attempts := s.deliver(ctx, n)
	s.settle(n.ID, attempts, false)
	if now, ok := s.notification(id); ok {
		n = now
	}
	return n, nil
}

// deliver makes one attempt, or two when the duplicate fault strikes, and tells how it went.
func (s *Server) deliver(ctx context.Context, n notification) []Attempt {
	var plan deliveryPlan
	s.store.view(func(st *store) { plan = st.faults.planDelivery(n.Seq-st.faultBase, len(n.Attempts)) })
	if plan.drop {
		return []Attempt{{At: time.Now(), Faults: plan.names(), Error: "dropped on purpose"}}
	}
	attempts := make([]Attempt, 1)
	if plan.duplicate {
		attempts = make([]Attempt, 2)
	}
	var posts sync.WaitGroup
	for i := range attempts {
		posts.Go(func() { attempts[i] = s.post(ctx, n, plan) })
	}
	posts.Wait()
	return attempts
}

func (s *Server) post(ctx context.Context, n notification, plan deliveryPlan) Attempt {
	attempt := Attempt{At: time.Now(), Faults: plan.names()}
	form, err := s.form(n, plan)
	if err != nil {
		attempt.Error = err.Error()
		return attempt
	}
	attempt.ContentType = contentType(n, plan, form)
	attempt.Status, attempt.Body, err = s.send(ctx, n.URL, attempt.ContentType, form)
	if err != nil {
		attempt.Error = err.Error()
	}
	return attempt
}

// contentType alternates from one attempt to the next and from one notification to the next.
func contentType(n notification, plan deliveryPlan, form url.Values) string {
	layout := plainForm
	if plan.header || (n.Seq+int64(len(n.Attempts)))%2 == 0 {
		layout = oddForm
	}
	return fmt.Sprintf(layout, strings.ToUpper(form.Get("charset")))
}

// send posts the form and gives the answer's status and body, of which all that could still be an acknowledgement.
func (s *Server) send(ctx context.Context, to, contentType string, form url.Values) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", fmt.Errorf("notify request: %w", err)
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("User-Agent", "coursepay-sandbox")
	response, err := s.client.Do(request)
	if err != nil {
		return 0, "", fmt.Errorf("notify: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // nothing is lost
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return response.StatusCode, string(body), fmt.Errorf("notify answer: %w", err)
	}
	return response.StatusCode, string(body), nil
}

func (a Attempt) acknowledges() bool {
	return a.Error == "" && a.Status == http.StatusOK && a.Body == ackText
}

// settle records attempts. After one of the schedule's own, the next is planned until the schedule is used up.
func (s *Server) settle(id string, attempts []Attempt, scheduled bool) {
	var n notification
	err := s.store.update(func(st *store) (record, error) {
		var ok bool
		if n, ok = st.notify(id); !ok {
			return record{}, errNoSuchNotify // reset meanwhile
		}
		n = s.settled(n, attempts, scheduled)
		return record{Notifies: []notification{n}}, nil
	})
	if err != nil {
		if !errors.Is(err, errNoSuchNotify) {
			s.log.Error("delivery not recorded", "notify", id, "error", err)
		}
		return
	}
	s.log.Info("notify sent", "notify", n.ID, "out_trade_no", n.Key.OutTradeNo, "status", attempts[0].Status,
		"acknowledged", n.Acknowledged, "error", attempts[0].Error)
	if scheduled {
		s.agenda.add(n)
	}
}

func (s *Server) settled(n notification, attempts []Attempt, scheduled bool) notification {
	n.Attempts = slices.Clone(n.Attempts)
	for _, a := range attempts {
		n.Acknowledged = n.Acknowledged || a.acknowledges()
		a.Body = firstBytes(a.Body, maxAnswerKept)
		n.Attempts = append(n.Attempts, a)
	}
	if scheduled {
		n.Held, n.Rounds = false, n.Rounds+1
		n.NextAt = time.Time{}
		if n.Rounds <= len(s.schedule) {
			n.NextAt = time.Now().Add(s.schedule[n.Rounds-1])
		}
	}
	if n.Acknowledged {
		n.NextAt = time.Time{}
	}
	return n
}

// planFirst sets the first attempt's time: at once, or as the delay and reorder faults have it. Of two in a row only
// the first is held, so that the second overtakes it.
func (st *store) planFirst(n notification, now time.Time) notification {
	n.NextAt = now.Add(time.Duration(st.faults.Notify.Delay))
	if st.faults.strikes(st.faults.Notify.Reorder, "notify.reorder", n.Seq-st.faultBase, 0) && !st.anyHeld() {
		n.Held, n.NextAt = true, n.NextAt.Add(reorderHold)
	}
	return n
}

// anyHeld looks only at the newest notification: one before it has been overtaken already.
func (st *store) anyHeld() bool {
	if len(st.notifyOrder) == 0 {
		return false
	}
	return st.notifies[st.notifyOrder[len(st.notifyOrder)-1]].Held
}

// releaseHeld sends the notification that the one numbered seq has just overtaken.
func (s *Server) releaseHeld(seq int64) {
	var n notification
	err := s.store.update(func(st *store) (record, error) {
		var ok bool
		n, ok = st.notify(fmt.Sprint(seq - 1))
		if !ok || !n.Held {
			return record{}, errNoSuchNotify
		}
		n.Held, n.NextAt = false, time.Now()
		return record{Notifies: []notification{n}}, nil
	})
	if err == nil {
		s.agenda.add(n)
	}
}

// firstBytes cuts text for the record; what is no UTF-8, or half a character at the cut, becomes a substitute.
func firstBytes(text string, limit int) string {
	return strings.ToValidUTF8(text[:min(len(text), limit)], "\uFFFD")
}
