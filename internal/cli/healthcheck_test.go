package cli

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHealthcheckBelievesNothingBut200(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/fine", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/starting", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.Handle("/moved", http.RedirectHandler("/fine", http.StatusFound))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	gone := httptest.NewServer(mux)
	gone.Close()

	require.NoError(t, runHealthcheck(t, server.URL+"/fine"))
	require.ErrorContains(t, runHealthcheck(t, server.URL+"/starting"), "503")
	require.ErrorContains(t, runHealthcheck(t, server.URL+"/moved"), "302")
	require.Error(t, runHealthcheck(t, gone.URL+"/fine"), "nobody listens there")
}

func runHealthcheck(t *testing.T, url string) error {
	t.Helper()
	cmd := newHealthcheckCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs([]string{url})
	return cmd.ExecuteContext(t.Context())
}
