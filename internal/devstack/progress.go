package devstack

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells people what goes on. Its methods may be called from several goroutines.
type progress struct {
	mu  sync.Mutex
	out io.Writer
}

func (p *progress) printf(format string, arguments ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.out, format+"\n", arguments...)
}

// during runs a long step and says every few seconds that it still goes on.
func (p *progress) during(ctx context.Context, what string, step func(context.Context) error) error {
	begin := time.Now()
	p.printf("… %s", what)
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	done := make(chan error, 1)
	go func() { done <- step(ctx) }()
	for {
		select {
		case err := <-done:
			if err == nil {
				p.printf("✓ %s (%s)", what, since(begin))
			}
			return err
		case <-ticker.C:
			p.printf("… %s: %s so far", what, since(begin))
		}
	}
}

func since(begin time.Time) time.Duration {
	took := time.Since(begin)
	if took >= 10*time.Second {
		return took.Round(time.Second)
	}
	return took.Round(10 * time.Millisecond)
}
