package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/PuerkitoBio/goquery"
	"github.com/stretchr/testify/require"
)

func TestDocsAreServedFromHereAlone(t *testing.T) {
	t.Parallel()
	s := bareServer()
	for _, prefix := range []string{"", "/api"} {
		response := load(t, s, prefix+"/docs")
		page := response.body
		require.Equal(t, http.StatusOK, response.status)
		require.Equal(t, "text/html; charset=utf-8", response.header.Get("Content-Type"))
		policy := response.header.Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'; script-src 'self'; style-src 'self';")
		require.NotContains(t, policy, "unsafe")
		require.NotContains(t, policy, "http")
		require.NotContains(t, page, "//", "an address of another site")

		parts := partsOf(t, page)
		require.Contains(t, parts, "openapi.json")
		require.Contains(t, parts, "docs/init.js")
		for _, part := range parts {
			response := load(t, s, prefix+"/"+part, "Accept-Encoding", "gzip")
			require.Equal(t, http.StatusOK, response.status, part)
			require.NotEmpty(t, response.header.Get("Content-Type"), part)
		}
	}
	response := load(t, s, "/api/docs/")
	require.Equal(t, http.StatusFound, response.status)
	require.Equal(t, "../docs", response.header.Get("Location"))
}

// partsOf are the addresses that a page names, all of which have to be relative; nothing in it may run inline.
func partsOf(t *testing.T, page string) (parts []string) {
	t.Helper()
	doc, err := goquery.NewDocumentFromReader(strings.NewReader(page))
	require.NoError(t, err)
	doc.Find("script, link, a, [data-description]").Each(func(_ int, element *goquery.Selection) {
		require.Empty(t, strings.TrimSpace(element.Filter("script").Text()), "inline script")
		for _, name := range []string{"src", "href", "data-description"} {
			if address, has := element.Attr(name); has && !strings.HasPrefix(address, "data:") {
				parts = append(parts, address)
			}
		}
	})
	// A browser takes what is in noscript for text.
	doc, err = goquery.NewDocumentFromReader(strings.NewReader(doc.Find("noscript").Text()))
	require.NoError(t, err)
	doc.Find("a").Each(func(_ int, link *goquery.Selection) { parts = append(parts, link.AttrOr("href", "")) })
	return parts
}

func TestDocsNameEveryOperationWithoutJavaScriptToo(t *testing.T) {
	t.Parallel()
	s := bareServer()
	page := load(t, s, "/docs").body
	require.Contains(t, page, "<code>POST /orders/generatepaycode</code> Get a QR code to pay with")
	require.Contains(t, page, "<code>GET /ops/attention</code>")
	script := load(t, s, "/docs/init.js").body
	require.NotContains(t, script, "http:")
	require.NotContains(t, script, "https:")
	require.Contains(t, script, "validatorUrl: null", "Swagger UI would ask its maker's validator")
}

func TestDocsReachBrowsersThatDoNotUnpack(t *testing.T) {
	t.Parallel()
	s := bareServer()
	packed := load(t, s, "/docs/swagger-ui-bundle.js", "Accept-Encoding", "gzip, br")
	require.Equal(t, "gzip", packed.header.Get("Content-Encoding"))
	plain := load(t, s, "/docs/swagger-ui-bundle.js", "Accept-Encoding", "identity")
	require.Empty(t, plain.header.Get("Content-Encoding"))
	require.Greater(t, len(plain.body), 2*len(packed.body))
	require.Contains(t, plain.body, "SwaggerUIBundle")
	require.NotEqual(t, packed.header.Get("ETag"), plain.header.Get("ETag"))
	for _, response := range []loaded{packed, plain} {
		require.Equal(t, "text/javascript; charset=utf-8", response.header.Get("Content-Type"))
		require.Equal(t, "Accept-Encoding", response.header.Get("Vary"))
	}
	again := load(t, s, "/docs/swagger-ui-bundle.js", "Accept-Encoding", "gzip", "If-None-Match", packed.header.Get("ETag"))
	require.Equal(t, http.StatusNotModified, again.status)
}
