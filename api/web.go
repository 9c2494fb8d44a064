package api

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"io/fs"
	"path"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// web holds the pages and what they are made of, as they are served: there is no build step.
//
//go:embed web
var web embed.FS

// pageHeaders go with every page and what belongs to it. A page loads nothing that is not served here, runs no inline
// script, cannot be framed, and makes nothing executable out of a string.
var pageHeaders = map[string]string{
	fiber.HeaderContentSecurityPolicy: "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'",
	fiber.HeaderXContentTypeOptions: "nosniff",
	fiber.HeaderReferrerPolicy:      "no-referrer",
}

func setPageHeaders(c *fiber.Ctx) {
	for name, value := range pageHeaders {
		c.Set(name, value)
	}
}

// kinds are the content types; the machine's own list may differ.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// webFile is a file as it is served. Its tag changes with its content, so browsers ask each time and rarely load.
type webFile struct {
	body []byte
	kind string
	tag  string
}

func newWebFile(name string, body []byte) webFile {
	sum := sha256.Sum256(body)
	return webFile{
		body: body, kind: kinds[path.Ext(name)],
		tag: `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`,
	}
}

func (f webFile) serve(c *fiber.Ctx) error {
	setPageHeaders(c)
	c.Set(fiber.HeaderContentType, f.kind)
	c.Set(fiber.HeaderCacheControl, "no-cache")
	c.Set(fiber.HeaderETag, f.tag)
	if c.Fresh() {
		c.Status(fiber.StatusNotModified)
		return nil
	}
	return c.Send(f.body)
}

// pages serves the checkout page at /, the operators' page at /ops, and their parts below /assets. Their addresses are
// relative, so that all of it works below /api as well.
func (s *Server) pages() {
	s.app.Get("/", s.page("index.html").serve)
	ops := s.page("ops.html")
	s.app.Get("/ops", func(c *fiber.Ctx) error {
		if strings.HasSuffix(c.Path(), "/") {
			return c.Redirect("../ops")
		}
		return ops.serve(c)
	})
	assets := webAssets()
	s.app.Get("/assets/:name", func(c *fiber.Ctx) error {
		file, ok := assets[c.Params("name")]
		if !ok {
			return fiber.ErrNotFound
		}
		return file.serve(c)
	})
}

// page makes a page that knows whether there is a demo log-in.
func (s *Server) page(name string) webFile {
	var body bytes.Buffer
	page := template.Must(template.ParseFS(web, "web/"+name))
	if err := page.Execute(&body, struct{ Demo bool }{s.demoToken != nil}); err != nil {
		panic(err) // the page is compiled in, and its one value always fits
	}
	return newWebFile(name, body.Bytes())
}

func webAssets() map[string]webFile {
	files := map[string]webFile{}
	err := fs.WalkDir(web, "web/assets", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := web.ReadFile(name)
		files[path.Base(name)] = newWebFile(name, body)
		return err
	})
	if err != nil {
		panic(err) // the files are compiled in
	}
	return files
}
