package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config says where the API is and who asks. The zero value of everything but URL will do for the catalogue.
type Config struct {
	// URL is the API's base, such as https://pay.example.com/api.
	URL string
	// Token gives the JWT of whoever asks; it is called before every request, so it may renew what runs out. Nil: nobody
	// is logged in.
	Token func(context.Context) (string, error)
	// HTTP sends the requests; a client of its own when nil. Its Timeout, if any, must allow for streams of events.
	HTTP *http.Client
	// Timeout is for one request, streams of events excepted; 30 s when zero.
	Timeout time.Duration
	// Tries is how often, at most, a request that can be repeated safely is sent while the service answers 503; 4 when
	// zero. With 1, nothing is repeated.
	Tries int
}

// StaticToken is a Config.Token that is always the same.
func StaticToken(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

// Client calls the API. It may be used by many goroutines at once.
type Client struct {
	base    string
	token   func(context.Context) (string, error)
	http    *http.Client
	timeout time.Duration
	tries   int
	silence time.Duration // after which a stream of events is taken for dead
}

// New makes a client. Nothing is sent yet; a URL that is none shows with the first request.
func New(cfg Config) *Client {
	c := &Client{
		base: strings.TrimSuffix(cfg.URL, "/"), token: cfg.Token, http: cfg.HTTP, timeout: cfg.Timeout, tries: cfg.Tries,
		silence: deadAfter,
	}
	if c.http == nil {
		c.http = &http.Client{}
	}
	if c.timeout == 0 {
		c.timeout = 30 * time.Second
	}
	if c.tries == 0 {
		c.tries = 4
	}
	return c
}

const (
	longestPause = 30 * time.Second // a service that asks for more is not waited for
	usualPause   = time.Second      // where the service names none
	largestBody  = 16 << 20         // bytes of an answer; the largest real ones are some hundred kilobytes
)

// question is a request before it is sent.
type question struct {
	method, path string
	query        url.Values
	key          string // Idempotency-Key
	body         any
	once         bool // a repeat could do more than the first did
}

// ask sends the question, repeats it if that is safe, and reads the answer.
func (c *Client) ask(ctx context.Context, q question, into any) error {
	for try := 1; ; try++ {
		err := c.send(ctx, q, into)
		pause, again := c.again(q, try, err)
		if !again {
			return err
		}
		if ended := wait(ctx, pause); ended != nil {
			return fmt.Errorf("%w, after %w", ended, err)
		}
	}
}

func (c *Client) again(q question, try int, err error) (time.Duration, bool) {
	refusal, refused := errors.AsType[*Error](err)
	if !refused || refusal.Status != http.StatusServiceUnavailable || q.once || try >= c.tries {
		return 0, false
	}
	if refusal.RetryAfter == 0 {
		return usualPause, true
	}
	return refusal.RetryAfter, refusal.RetryAfter <= longestPause
}

func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (c *Client) send(ctx context.Context, q question, into any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request, err := c.request(ctx, q)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, largestBody))
	if err != nil {
		return fmt.Errorf("%s %s: %w", q.method, q.path, err)
	}
	if response.StatusCode != http.StatusOK {
		return refusal(q, response, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s %s: %w", q.method, q.path, err)
	}
	return nil
}

func (c *Client) request(ctx context.Context, q question) (*http.Request, error) {
	var body io.Reader
	if q.body != nil {
		text, err := json.Marshal(q.body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", q.method, q.path, err)
		}
		body = bytes.NewReader(text)
	}
	address := c.base + q.path
	if len(q.query) > 0 {
		address += "?" + q.query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, q.method, address, body)
	if err != nil {
		return nil, err
	}
	if q.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if q.key != "" {
		request.Header.Set("Idempotency-Key", q.key)
	}
	if c.token != nil {
		token, err := c.token(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s %s: token: %w", q.method, q.path, err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return request, nil
}

// get asks for a T.
func get[T any](ctx context.Context, c *Client, query url.Values, path string) (answer T, err error) {
	return answer, c.ask(ctx, question{method: http.MethodGet, path: path, query: query}, &answer)
}

// post asks for a T by a request that has no body and can be repeated.
func post[T any](ctx context.Context, c *Client, path string) (answer T, err error) {
	return answer, c.ask(ctx, question{method: http.MethodPost, path: path}, &answer)
}

// keyFor is the key, or a new one where a request that needs one may be repeated.
func (c *Client) keyFor(key string) string {
	if key == "" && c.tries > 1 {
		return rand.Text()
	}
	return key
}

// filled are the parameters that have a value.
func filled(pairs ...string) url.Values {
	values := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		if name, value := pair[0], pair[1]; value != "" {
			values.Set(name, value)
		}
	}
	return values
}

// number is a positive number; anything else counts as not given.
func number(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}
