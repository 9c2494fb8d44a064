package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"coursepay/internal/auth"
	"coursepay/models"
)

// The demo's log-in lets anybody be a demo learner, or the demo operator, without a password. Its paths exist only when
// Config.DemoToken says how to make tokens, which no production installation does.
//
// The log-in leaves the token in the cookie jwt, where the XueCheng log-in leaves its own, and the page reads it from
// there: one way for both. So the cookie is not HttpOnly. What it could leak to is foreign script in the page, which the
// page's Content-Security-Policy keeps out. In return there is nothing to forge across sites: a cookie by itself opens
// nothing that writes, since every write needs the Authorization header, which no foreign site can make a browser send.

// DemoUser is somebody whom a visitor of the demo can be.
type DemoUser struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Ops  bool   `json:"ops" doc:"Has the role ops"`
}

func demoUsers() []DemoUser {
	return []DemoUser{{"xiaoming", "小明", false}, {"xiaohong", "小红", false}, {"ada", "Ada", false}, {"operator", "演示运营", true}}
}

// demoSession is how long a demo log-in lasts.
const demoSession = 12 * time.Hour

func (s *Server) demo(api huma.API) {
	if s.demoToken == nil {
		return
	}
	s.log.Info("demo log-in is on: anybody can be any demo user, the operator too")
	huma.Register(api, huma.Operation{
		OperationID: "demousers", Method: http.MethodGet, Path: "/demo/users", Summary: "Who can be tried out; never in production",
	}, func(context.Context, *struct{}) (*answer[[]DemoUser], error) {
		return &answer[[]DemoUser]{demoUsers()}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "demologin", Method: http.MethodPost, Path: "/demo/login", Summary: "Be a demo user; never in production",
		Description: "Leaves a token in the cookie jwt.", Errors: []int{404},
	}, s.demoLogin)
}

type demoLoginRequest struct {
	Body struct {
		User string `json:"user" minLength:"1" maxLength:"64" doc:"An id of GET /demo/users"`
	}
}

type demoLoginAnswer struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
	Body      DemoUser
}

func (s *Server) demoLogin(ctx context.Context, in *demoLoginRequest) (*demoLoginAnswer, error) {
	users := demoUsers()
	i := slices.IndexFunc(users, func(u DemoUser) bool { return u.ID == in.Body.User })
	if i < 0 {
		return nil, errorOf(models.CodeNotFound)
	}
	token, err := s.demoToken(auth.User{ID: users[i].ID, Ops: users[i].Ops}, demoSession)
	if err != nil {
		return nil, s.fail(ctx, "issue a demo token", err)
	}
	return &demoLoginAnswer{
		SetCookie: http.Cookie{ //nolint:gosec // not HttpOnly on purpose, as said above; not Secure: the demo runs without TLS
			Name: "jwt", Value: token, Path: "/", MaxAge: int(demoSession.Seconds()), SameSite: http.SameSiteLaxMode,
		},
		Body: users[i],
	}, nil
}
