package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/auth"
)

const tokenSecret = "a secret for tests of the token command"

func runToken(args ...string) (string, error) {
	cmd := newTokenCommand()
	var out, errOut bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

func TestTokenPrintsJustATokenThatTheAPIAccepts(t *testing.T) {
	t.Setenv("JWT_SECRET", tokenSecret)
	out, err := runToken("--user", "52", "--ops", "--ttl", "2h")
	require.NoError(t, err)
	token, ok := strings.CutSuffix(out, "\n")
	require.True(t, ok)

	for after, want := range map[time.Duration]error{time.Hour: nil, 3 * time.Hour: auth.ErrExpired} {
		v, err := auth.NewVerifier(auth.Config{
			Secret: tokenSecret,
			Clock:  func() time.Time { return time.Now().Add(after) },
		})
		require.NoError(t, err)
		user, err := v.User("Bearer " + token)
		require.ErrorIs(t, err, want)
		if want == nil {
			require.Equal(t, auth.User{ID: "52", Ops: true}, user)
		}
	}
}

func TestTokenNeedsUserAndSecret(t *testing.T) {
	t.Setenv("JWT_SECRET", "")
	_, err := runToken()
	require.ErrorContains(t, err, `"user" not set`)
	_, err = runToken("--user", "52")
	require.ErrorContains(t, err, "JWT_SECRET: is missing")
	t.Setenv("JWT_SECRET", tokenSecret)
	_, err = runToken("--user", "")
	require.ErrorContains(t, err, "user id")
}

func TestTokenSaysWhoIssuesWhereAPublicKeyIsUsed(t *testing.T) {
	t.Parallel()
	const public = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEuvX2Em0z/bM8N4a097kRwb+muvpk
N+RfqfdfUmzbrbCjbAV7hUEg1xEDpVUn2j5k7hdiQutdFjX8099K8nwEAQ==
-----END PUBLIC KEY-----
`
	_, err := issueToken([]string{"JWT_PUBLIC_KEY=" + public}, auth.User{ID: "52"}, time.Hour, time.Now())
	require.ErrorContains(t, err, "holds the private key")
}
