package devtest

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"

	"coursepay/internal/devstack"
)

// Temporal returns the shared Temporal server's address and a fresh namespace on it with all our search attributes.
func Temporal(t testing.TB) (address, namespace string) {
	t.Helper()
	server := services(t).Temporal
	namespace = "test-" + strings.ToLower(rand.Text()[:16])
	c, err := server.Dial(t.Context(), namespace)
	if err != nil {
		t.Fatalf("connect to Temporal: %v", err)
	}
	t.Cleanup(c.Close)
	if err := register(t.Context(), c, namespace); err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	return server.Address(), namespace
}

func register(ctx context.Context, c client.Client, namespace string) error {
	_, err := c.WorkflowService().RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
		Namespace: namespace, WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour),
	})
	if err != nil {
		return err
	}
	attributes := map[string]enums.IndexedValueType{}
	for name, kind := range devstack.SearchAttributes {
		if attributes[name], err = enums.IndexedValueTypeFromString(kind); err != nil {
			return err
		}
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
		Namespace: namespace, SearchAttributes: attributes,
	})
	return err
}
