package api

import (
	"bytes"
	"compress/gzip"
	"embed"
	"html/template"
	"io"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gofiber/fiber/v2"
	viewer "github.com/swaggest/swgui/v5/static"
)

// docs holds the page that shows the API's description. Swagger UI's own files come from a module that embeds them.
//
//go:embed docs
var docs embed.FS

// documentation serves /docs: what the API can do, for people. It runs under the same rules as the other pages, and asks
// nobody but this service.
func (s *Server) documentation(api huma.API) {
	page := docsPage(api.OpenAPI())
	s.app.Get("/docs", func(c *fiber.Ctx) error {
		if strings.HasSuffix(c.Path(), "/") {
			return c.Redirect("../docs")
		}
		return page.serve(c)
	})
	script := newWebFile("init.js", mustRead(docs.ReadFile("docs/init.js")))
	s.app.Get("/docs/init.js", script.serve)
	for _, name := range []string{"swagger-ui-bundle.js", "swagger-ui.css"} {
		s.app.Get("/docs/"+name, packedFile(name))
	}
}

// packedFile serves a file of the viewer's, which come compressed.
func packedFile(name string) fiber.Handler {
	packed := newWebFile(name, mustRead(viewer.FS.ReadFile(name+".gz")))
	return func(c *fiber.Ctx) error {
		c.Vary(fiber.HeaderAcceptEncoding)
		if c.AcceptsEncodings("gzip") == "" {
			plain, err := unpack(packed.body)
			if err != nil {
				return err
			}
			return newWebFile(name, plain).serve(c)
		}
		c.Set(fiber.HeaderContentEncoding, "gzip")
		return packed.serve(c)
	}
}

func unpack(packed []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}

// mustRead is for files that are compiled in.
func mustRead(body []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return body
}

// docsPage is the page. To browsers without JavaScript it lists the operations.
func docsPage(api *huma.OpenAPI) webFile {
	var body bytes.Buffer
	page := template.Must(template.ParseFS(docs, "docs/index.html"))
	err := page.Execute(&body, struct {
		Title, About string
		Operations   []*huma.Operation
	}{api.Info.Title, api.Info.Description, operationsOf(api)})
	if err != nil {
		panic(err) // the page is compiled in, and these values always fit
	}
	return newWebFile("index.html", body.Bytes())
}
