// Package auth tells who is calling, from the JWT in the Authorization header.
//
// A token is the one the learning platform's own login service issues: its claim user_name is a JSON string of the user,
// whose id is the user's id. A token with a plain sub works as well. The role ops stands in authorities. The one algorithm
// that is accepted follows from the configured key (HS256, RS256 or ES256), never from the token's header, so a token
// cannot choose how it is checked.
package auth

import (
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

var (
	// ErrNoToken: there is no Authorization header with a bearer token.
	ErrNoToken = errors.New("no bearer token")
	// ErrExpired: the token is genuine, and its exp has passed.
	ErrExpired = errors.New("token has expired")
	// ErrInvalid: the token is not to be trusted, or names no user. Its text says what is wrong with the token and
	// quotes nothing of it.
	ErrInvalid = errors.New("token is invalid")
)

const (
	opsAuthority   = "ops"
	leeway         = 30 * time.Second // clocks of issuer and verifier differ
	maxTokenBytes  = 8 << 10
	maxUserIDChars = 64
	minRSABits     = 2048
)

// User is the caller: ID as the login service gives it (1 to 64 characters), Ops when the authorities hold the role ops.
type User struct {
	ID  string
	Ops bool
}

// Config names the key that tokens are checked with: exactly one of Secret (HS256) and PublicKeyPEM (a PEM "PUBLIC KEY"
// or certificate; RSA of 2048 bits or more gives RS256, ECDSA on P-256 gives ES256).
type Config struct {
	Secret       string
	PublicKeyPEM string
	Clock        func() time.Time // time.Now when nil
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	key       any
	parser    *jwt.Parser
	validator *jwt.Validator
}

// NewVerifier refuses a configuration with no key, with both, or with a key that is unreadable or too weak. The error
// never quotes the key.
func NewVerifier(cfg Config) (*Verifier, error) {
	key, method, err := verificationKey(cfg)
	if err != nil {
		return nil, err
	}
	clock := cfg.Clock
	if clock == nil {
		clock = time.Now
	}
	return &Verifier{
		key: key,
		// The parser's own validation panics on claims that are the JSON null: hence a validator beside it.
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{method.Alg()}), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation()),
		validator: jwt.NewValidator(
			jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(clock)),
	}, nil
}

func verificationKey(cfg Config) (any, jwt.SigningMethod, error) {
	switch {
	case cfg.Secret != "" && cfg.PublicKeyPEM != "":
		return nil, nil, errors.New("both a JWT secret and a JWT public key are given: exactly one decides the algorithm")
	case cfg.Secret != "":
		return []byte(cfg.Secret), jwt.SigningMethodHS256, nil
	case cfg.PublicKeyPEM != "":
		return publicKey([]byte(cfg.PublicKeyPEM))
	}
	return nil, nil, errors.New("neither a JWT secret nor a JWT public key is given")
}

func publicKey(pem []byte) (any, jwt.SigningMethod, error) {
	if key, err := jwt.ParseRSAPublicKeyFromPEM(pem); err == nil {
		return rsaKey(key)
	}
	key, err := jwt.ParseECPublicKeyFromPEM(pem)
	if err != nil {
		return nil, nil, errors.New("the JWT public key is no PEM of an RSA or ECDSA public key")
	}
	if key.Curve != elliptic.P256() {
		return nil, nil, errors.New("the JWT public key's curve is not P-256, which ES256 needs")
	}
	return key, jwt.SigningMethodES256, nil
}

func rsaKey(key *rsa.PublicKey) (any, jwt.SigningMethod, error) {
	if key.N.BitLen() < minRSABits {
		return nil, nil, fmt.Errorf("the JWT public key has fewer than %d bits", minRSABits)
	}
	return key, jwt.SigningMethodRS256, nil
}

// User reads the value of an Authorization header ("Bearer …"). Its errors are ErrNoToken, ErrExpired and ErrInvalid.
func (v *Verifier) User(authorizationHeader string) (User, error) {
	token, ok := bearer(authorizationHeader)
	if !ok {
		return User{}, ErrNoToken
	}
	if len(token) > maxTokenBytes {
		return User{}, invalid("too long")
	}
	var c claims
	if _, err := v.parser.ParseWithClaims(token, &c, v.keyFor); err != nil {
		return User{}, verdict(err)
	}
	if err := v.validator.Validate(c); err != nil {
		return User{}, verdict(err)
	}
	id, err := c.userID()
	if err != nil {
		return User{}, err
	}
	return User{ID: id, Ops: slices.Contains(c.Authorities, opsAuthority)}, nil
}

func (v *Verifier) keyFor(*jwt.Token) (any, error) { return v.key, nil }

// bearer splits "Bearer <token>"; the scheme's case does not matter (RFC 9110, 11.1).
func bearer(header string) (string, bool) {
	scheme, token, _ := strings.Cut(strings.TrimSpace(header), " ")
	token = strings.TrimSpace(token)
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}

// verdict keeps the library's texts inside: some of them quote the token.
func verdict(err error) error {
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return invalid("wrong signature or algorithm")
	case errors.Is(err, jwt.ErrTokenExpired):
		return ErrExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return invalid("not valid yet")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return invalid("exp is missing")
	}
	return invalid("malformed")
}

func invalid(reason string) error { return fmt.Errorf("%w: %s", ErrInvalid, reason) }

// claims are the parts of the platform's token that matter here.
type claims struct {
	// UserName is a JSON document inside a JSON string; nil when the token has a plain sub instead.
	UserName    *string  `json:"user_name,omitempty"`
	Authorities []string `json:"authorities"`
	jwt.RegisteredClaims
}

// userID prefers user_name. A broken one is not papered over by sub: the token's issuer meant something else.
func (c *claims) userID() (string, error) {
	id := c.Subject
	if c.UserName != nil {
		var user struct {
			ID flexibleID `json:"id"`
		}
		if err := json.Unmarshal([]byte(*c.UserName), &user); err != nil {
			return "", invalid("user_name is no JSON of a user")
		}
		id = string(user.ID)
	}
	if !validUserID(id) {
		return "", invalid("no usable user id")
	}
	return id, nil
}

// flexibleID is an id that some issuers write as a string and others as a whole number. A number keeps its digits: it
// never passes through a float.
type flexibleID string

func (id *flexibleID) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, (*string)(id))
	}
	if strings.ContainsFunc(string(text), func(r rune) bool { return r < '0' || r > '9' }) {
		return errors.New("id is neither a string nor a whole number")
	}
	*id = flexibleID(text)
	return nil
}

// validUserID: not blank, at most 64 characters, all of them visible (no control, format or private-use characters).
func validUserID(id string) bool {
	return strings.TrimSpace(id) != "" &&
		utf8.ValidString(id) &&
		utf8.RuneCountInString(id) <= maxUserIDChars &&
		!strings.ContainsFunc(id, func(r rune) bool { return unicode.Is(unicode.C, r) })
}

// Issue signs a token for u with HS256, in the platform's shape: user_name with the id, authorities, exp, jti, and sub
// as well. It is good from now for ttl. Only an empty secret and an id that User would refuse are errors.
func Issue(secret []byte, u User, ttl time.Duration, now time.Time) (string, error) {
	if len(secret) == 0 {
		return "", errors.New("issue token: the secret is empty")
	}
	if !validUserID(u.ID) {
		return "", fmt.Errorf("issue token: a user id has 1 to %d visible characters", maxUserIDChars)
	}
	userName, err := json.Marshal(map[string]string{"id": u.ID})
	if err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	c := claims{
		UserName:    new(string(userName)),
		Authorities: []string{},
		RegisteredClaims: jwt.RegisteredClaims{
			Subject:   u.ID,
			ID:        uuid.NewString(),
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
		},
	}
	if u.Ops {
		c.Authorities = append(c.Authorities, opsAuthority)
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	return signed, nil
}
