package devtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// AMQP returns the URL of a fresh virtual host on the shared broker, deleted with everything in it (and cutting its
// connections) when the test ends. A broker that AMQP_URL names needs its management API for that, at port 15672 or
// where COURSEPAY_AMQP_API_URL says.
func AMQP(t testing.TB) string {
	t.Helper()
	broker := services(t).RabbitMQ
	name := "test-" + strings.ToLower(rand.Text()[:16])
	host := broker.API() + "/api/vhosts/" + name
	if err := manage(t.Context(), http.MethodPut, host); err != nil {
		t.Fatalf("make a virtual host: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext(t)
		defer cancel()
		if err := manage(ctx, http.MethodDelete, host); err != nil {
			t.Errorf("delete the test's virtual host: %v", err)
		}
	})
	address, err := url.Parse(broker.URL())
	if err != nil {
		t.Fatalf("read the broker's URL: %v", err)
	}
	address.Path = "/" + name
	return address.String()
}

// manage asks the broker's management API. Whoever makes a virtual host has all permissions on it.
func manage(ctx context.Context, method, address string) error {
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s answers %s", method, request.URL.Redacted(), answer.Status)
	}
	return nil
}
