package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"coursepay/internal/auth"
	"coursepay/internal/buyer"
)

// caller calls the API as somebody, and tells the diary how it was answered.
type caller struct {
	api    string
	secret string
	user   auth.User
	skew   time.Duration
	diary  *diary
	http   *http.Client
}

const (
	answerWithin = 15 * time.Second // for one request
	tokensLast   = time.Hour
	withOldToken = "with an old token"
)

func (c *caller) token() (string, error) {
	return auth.Issue([]byte(c.secret), c.user, tokensLast, time.Now().Add(c.skew))
}

// call sends one request. name is what the diary files it under, key an Idempotency-Key, or "". A refusal comes as
// *buyer.Refusal.
func (c *caller) call(ctx context.Context, name, method, path, key string, body, into any) error {
	err := c.send(ctx, method, path, key, body, into)
	c.diary.count(&c.diary.Answers, name+": "+outcome(err))
	refusal, refused := errors.AsType[*buyer.Refusal](err)
	if refused && refusal.Status == http.StatusUnauthorized && name != withOldToken {
		c.diary.find(Finding{Check: "good-token", User: c.user.ID, Detail: fmt.Sprintf("%s: a token from a clock that is off by %v was refused", name, c.skew)})
	}
	if refused && refusal.Status == http.StatusInternalServerError {
		c.diary.find(Finding{Check: "unforeseen", User: c.user.ID, Detail: name + ": answered with 500; what passes by itself is 503"})
	}
	return err
}

func (c *caller) send(ctx context.Context, method, path, key string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	request, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode == http.StatusOK {
		return json.Unmarshal(answer, into)
	}
	refusal := &buyer.Refusal{}
	_ = json.Unmarshal(answer, refusal) // whatever else it is, it is no success
	refusal.Status = response.StatusCode
	return refusal
}

func (c *caller) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var text []byte
	var err error
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, c.api+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	token, err := c.token()
	request.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request, err
}

// outcome is a word for the diary.
func outcome(err error) string {
	if err == nil {
		return "200"
	}
	if refusal, refused := errors.AsType[*buyer.Refusal](err); refused {
		return strings.TrimSpace(fmt.Sprint(refusal.Status, " ", refusal.Code))
	}
	return "no answer"
}

// final says that asking again would be of no use.
func final(err error) bool {
	refusal, refused := errors.AsType[*buyer.Refusal](err)
	return refused && refusal.Status < http.StatusInternalServerError && refusal.Status != http.StatusTooManyRequests
}

// persist asks until there is an answer that ends it, or ctx ends.
func persist(ctx context.Context, ask func() error) error {
	wait := 300 * time.Millisecond
	for {
		err := ask()
		if err == nil || final(err) {
			return err
		}
		if !sleep(ctx, wait) {
			return err
		}
		wait = min(wait*2, 3*time.Second)
	}
}
