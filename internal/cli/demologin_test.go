package cli

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/auth"
	"coursepay/internal/config"
)

// Red: the secret alone decides.
func TestDemoLoginIsNeverInProduction(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env, secret string
		want        bool
	}{
		{config.Development, tokenSecret, true},
		{config.Test, tokenSecret, true},
		{config.Development, "", false},
		{config.Production, "", false},
		{config.Production, tokenSecret, false},
	} {
		require.Equal(t, c.want, demoToken(config.Config{AppEnv: c.env, JWTSecret: c.secret}) != nil, "%+v", c)
	}
	token, err := demoToken(config.Config{AppEnv: config.Development, JWTSecret: tokenSecret})(auth.User{ID: "ada"}, time.Hour)
	require.NoError(t, err)
	verifier, err := auth.NewVerifier(auth.Config{Secret: tokenSecret})
	require.NoError(t, err)
	user, err := verifier.User("Bearer " + token)
	require.NoError(t, err)
	require.Equal(t, auth.User{ID: "ada"}, user)
}
