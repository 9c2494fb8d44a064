package devstack

import (
	"context"
	"fmt"
	"time"
)

// eventually asks again and again, ever more slowly, until condition holds or ctx ends. It reports the last refusal.
func eventually(ctx context.Context, condition func(context.Context) error) error {
	wait := 10 * time.Millisecond
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
		pause(ctx, wait)
		wait = min(wait*3/2, 250*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
