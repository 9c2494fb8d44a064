package api

import (
	"errors"

	"github.com/danielgtaylor/huma/v2"

	"coursepay/internal/auth"
	"coursepay/models"
)

type callerKey struct{}

// forUsers marks an operation as one for logged-in users.
func (s *Server) forUsers(api huma.API, op huma.Operation) huma.Operation {
	op.Security = []map[string][]string{{"bearer": {}}}
	op.Middlewares = append(op.Middlewares, func(ctx huma.Context, next func(huma.Context)) {
		user, err := s.tokens.User(ctx.Header("Authorization"))
		if err != nil {
			if !errors.Is(err, auth.ErrNoToken) {
				s.log.DebugContext(ctx.Context(), "token refused", "reason", err)
			}
			_ = huma.WriteErr(api, ctx, errorOf(models.CodeUnauthorized).status, "")
			return
		}
		next(huma.WithValue(ctx, callerKey{}, user))
	})
	return op
}

// forOps marks an operation as one for operators: users with the role ops.
func (s *Server) forOps(api huma.API, op huma.Operation) huma.Operation {
	op = s.forUsers(api, op)
	op.Metadata = map[string]any{opsOnly: true}
	op.Middlewares = append(op.Middlewares, func(ctx huma.Context, next func(huma.Context)) {
		if !caller(ctx.Context()).Ops {
			_ = huma.WriteErr(api, ctx, errorOf(models.CodeForbidden).status, "")
			return
		}
		next(ctx)
	})
	return op
}

// caller is the logged-in user of an operation made by forUsers.
func caller(ctx interface{ Value(any) any }) auth.User {
	user, _ := ctx.Value(callerKey{}).(auth.User)
	return user
}
