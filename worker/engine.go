package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"coursepay/workflows"
)

// awaitEngine waits until Temporal answers and knows our search attributes.
func awaitEngine(ctx context.Context, cfg Config) error {
	pause := 200 * time.Millisecond
	for {
		err := RegisterSearchAttributes(ctx, cfg.Temporal, cfg.Namespace)
		if err == nil {
			return nil
		}
		cfg.Logger.WarnContext(ctx, "waiting for Temporal", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
			pause = min(2*pause, 10*time.Second)
		}
	}
}

// RegisterSearchAttributes makes the search attributes that operators list orders by, where they are missing.
func RegisterSearchAttributes(ctx context.Context, c client.Client, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	operator := c.OperatorService()
	known, err := operator.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return fmt.Errorf("list search attributes: %w", err)
	}
	missing := map[string]enums.IndexedValueType{}
	for _, attr := range workflows.SearchAttributes {
		if _, found := known.GetCustomAttributes()[attr.GetName()]; !found {
			missing[attr.GetName()] = attr.GetValueType()
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = operator.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: missing})
	var exists *serviceerror.AlreadyExists
	if err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("add search attributes: %w", err)
	}
	return nil
}
