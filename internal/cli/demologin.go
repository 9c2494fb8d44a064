package cli

import (
	"time"

	"coursepay/internal/auth"
	"coursepay/internal/config"
)

// demoToken makes tokens for the demo's log-in. It is nil, and there is no such log-in, in production, and where the secret
// that tokens are signed with is somebody else's.
func demoToken(cfg config.Config) func(auth.User, time.Duration) (string, error) {
	if cfg.InProduction() || cfg.JWTSecret == "" {
		return nil
	}
	return func(user auth.User, ttl time.Duration) (string, error) {
		return auth.Issue([]byte(cfg.JWTSecret), user, ttl, time.Now())
	}
}
