package cli

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"coursepay/internal/auth"
	"coursepay/internal/config"
)

// newTokenCommand issues tokens for trying the API by hand, with the secret that the API checks them with.
func newTokenCommand() *cobra.Command {
	var user auth.User
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "token --user <id>",
		Short: "Print a JWT for a user",
		Long: `Print a JWT (HS256) that the API accepts, and nothing else.

It is signed with JWT_SECRET (or JWT_SECRET_FILE), which must be the API's. An installation that checks tokens
with JWT_PUBLIC_KEY cannot issue any: the private key is with its login service.`,
		Example: `  curl -H "Authorization: Bearer $(coursepay token --user 52)" http://127.0.0.1:8080/learning/mycoursetable
  coursepay token --user 1 --ops --ttl 1h`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := issueToken(os.Environ(), user, ttl, time.Now())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	cmd.Flags().StringVar(&user.ID, "user", "", "the user's id")
	cmd.Flags().BoolVar(&user.Ops, "ops", false, "give the role ops: see and decide everybody's orders")
	cmd.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "how long the token is good for")
	if err := cmd.MarkFlagRequired("user"); err != nil {
		panic(err) // only if the flag above is renamed
	}
	return cmd
}

func issueToken(environ []string, user auth.User, ttl time.Duration, now time.Time) (string, error) {
	cfg, err := config.Load(environ, config.NeedJWT)
	if err != nil {
		return "", err
	}
	if cfg.JWTSecret == "" {
		return "", errors.New("JWT_SECRET is not set: this installation checks tokens with JWT_PUBLIC_KEY, " +
			"and only its login service, which holds the private key, can issue them")
	}
	return auth.Issue([]byte(cfg.JWTSecret), user, ttl, now)
}
