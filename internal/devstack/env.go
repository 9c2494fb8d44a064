package devstack

import (
	"fmt"
	"maps"
	"net"
	"strings"
)

// The merchant that the sandbox knows.
const (
	demoAppID    = "9021000100000001"
	demoSellerID = "2088721000000001"
)

// settings are the variables that our processes run with.
func (s *Stack) settings() (map[string]string, error) {
	secret, err := keptSecret(s.key("jwt-secret"))
	if err != nil {
		return nil, err
	}
	env := map[string]string{
		"TEMPORAL_NAMESPACE":      "default",
		"HTTP_ADDR":               net.JoinHostPort(s.bindHost(), fmt.Sprint(s.options.Ports.API)),
		"PUBLIC_URL":              s.APIURL(),
		"JWT_SECRET":              secret,
		"ALIPAY_GATEWAY":          s.SandboxURL() + "/gateway.do",
		"ALIPAY_APP_ID":           demoAppID,
		"ALIPAY_SELLER_ID":        demoSellerID,
		"ALIPAY_PRIVATE_KEY_FILE": s.key("app-private.pem"),
		"ALIPAY_PUBLIC_KEY_FILE":  s.key("alipay-public.pem"),
		"ORDER_EXPIRY":            "15m",
		"APP_ENV":                 "development",
	}
	maps.Copy(env, s.options.Env)
	env["DATABASE_URL"], env["AMQP_URL"], env["TEMPORAL_ADDRESS"] = s.Postgres.URL(), s.RabbitMQ.URL(), s.Temporal.Address()
	env["TEMPORAL_UI_URL"] = s.Temporal.UIURL()
	return env, nil
}

// sandboxEnv is the settings as the sandbox names them.
func (s *Stack) sandboxEnv(env map[string]string) map[string]string {
	sandbox := map[string]string{
		"APP_ENV":                     env["APP_ENV"],
		"ALIPAY_APP_ID":               env["ALIPAY_APP_ID"],
		"ALIPAY_SELLER_ID":            env["ALIPAY_SELLER_ID"],
		"SANDBOX_ADDR":                net.JoinHostPort(s.bindHost(), fmt.Sprint(s.options.Ports.Sandbox)),
		"SANDBOX_URL":                 s.SandboxURL(),
		"SANDBOX_APP_PUBLIC_KEY_FILE": s.key("app-public.pem"),
		"SANDBOX_PRIVATE_KEY_FILE":    s.key("alipay-private.pem"),
		"SANDBOX_STATE_FILE":          s.layout.path("sandbox.json"),
	}
	if schedule := env["SANDBOX_NOTIFY_SCHEDULE"]; schedule != "" {
		sandbox["SANDBOX_NOTIFY_SCHEDULE"] = schedule
	}
	return sandbox
}

// Env is how to reach and configure everything, with the pids of what runs now: the contents of the file env.
func (s *Stack) Env() (map[string]string, error) {
	env, err := s.settings()
	if err != nil {
		return nil, err
	}
	if !s.options.ServicesOnly {
		env["API_URL"], env["SANDBOX_URL"] = s.APIURL(), s.SandboxURL()
		env["SANDBOX_PRIVATE_KEY_FILE"] = s.key("alipay-private.pem")
	}
	for _, service := range s.Services() {
		if pid := service.PID(); pid != 0 {
			env["PID_"+strings.ToUpper(service.name)] = fmt.Sprint(pid)
		}
	}
	return env, nil
}

// EnvFile is where the stack's variables are written, one KEY=value a line.
func (s *Stack) EnvFile() string { return s.layout.path("env") }

func (s *Stack) writeEnv() error {
	s.envMu.Lock()
	defer s.envMu.Unlock()
	env, err := s.Env()
	if err != nil {
		return err
	}
	return writeFile(s.EnvFile(), []byte(strings.Join(environ(env), "\n")+"\n"), 0o600)
}
