package cli

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// healthPatience is how long a health check waits for its answer.
const healthPatience = 5 * time.Second

// newHealthcheckCommand is for container engines: our image holds nothing but this binary, so it has to ask itself.
func newHealthcheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "healthcheck <url>",
		Short:   "Exit 0 if GET on a URL answers 200 within 5 s, for container health checks",
		Example: "  coursepay healthcheck http://127.0.0.1:8080/readyz",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return healthcheck(cmd.Context(), args[0]) },
	}
}

// healthcheck follows no redirect: a page about something else is no sign of health.
func healthcheck(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	asker := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := asker.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}
