package crosscheck

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/internal/devstack/devtest"
	"coursepay/internal/sandbox"
	"coursepay/internal/sandbox/sandboxtest"
)

// nodeClient is Alipay's own SDK, in a process that all tests share.
type nodeClient struct {
	process *nodeProcess
	config  map[string]any
}

func newNode(t *testing.T, w *world, gateway string) client {
	t.Helper()
	return newNodeClient(t, w, gateway)
}

// newNodeGBK is the SDK with its charset set: it says so, and goes on signing and reading UTF-8.
func newNodeGBK(t *testing.T, w *world, gateway string) client {
	t.Helper()
	c := newNodeClient(t, w, gateway)
	c.config["charset"] = "GBK"
	return c
}

func newNodeClient(t *testing.T, w *world, gateway string) *nodeClient {
	t.Helper()
	process, err := sharedNode()
	require.NoError(t, err)
	keys := sandboxtest.Keys()
	config := map[string]any{
		"appId": appID, "privateKey": keys[sandbox.AppPrivateKeyFile], "keyType": "PKCS8", "gateway": gateway,
		"camelcase": false, // fields by the names that Alipay gives them
	}
	if w.mode == certificate {
		config["appCertContent"] = keys[sandbox.AppCertFile]
		config["alipayPublicCertContent"] = keys[sandbox.AlipayCertFile]
		config["alipayRootCertContent"] = keys[sandbox.AlipayRootCertFile]
	} else {
		config["alipayPublicKey"] = keys[sandbox.AlipayPublicKeyFile]
	}
	return &nodeClient{process, config}
}

func (c *nodeClient) do(ctx context.Context, op string, question map[string]any, result any) error {
	question["op"], question["config"] = op, c.config
	return c.process.do(ctx, question, result)
}

func (c *nodeClient) ask(ctx context.Context, method string, biz map[string]any) (a answer, err error) {
	question := map[string]any{"method": method, "params": map[string]any{"bizContent": biz}}
	return a, c.do(ctx, "exec", question, &a)
}

// page: by GET the SDK gives an address, by POST a form.
func (c *nodeClient) page(ctx context.Context, verb string, o order) (*http.Request, error) {
	var page string
	err := c.do(ctx, "page", map[string]any{"method": o.Method, "verb": verb, "params": map[string]any{
		"bizContent": o.biz(), "notifyUrl": o.NotifyURL, "returnUrl": o.ReturnURL,
	}}, &page)
	switch {
	case err != nil:
		return nil, err
	case verb == http.MethodGet:
		return browserRequest(ctx, verb, page, "")
	}
	return submit(ctx, page)
}

func (c *nodeClient) verify(ctx context.Context, form string) error {
	return c.check(ctx, "checkNotifySignV2", form)
}

func (c *nodeClient) check(ctx context.Context, op, form string) error {
	var genuine bool
	if err := c.do(ctx, op, map[string]any{"form": form}, &genuine); err != nil {
		return err
	}
	if !genuine {
		return errors.New("node: not genuine")
	}
	return nil
}

// nodeProcess is node/client.mjs, which answers questions in any order.
type nodeProcess struct {
	stdin  io.Writer
	stderr bytes.Buffer // read only after the process has ended

	mu      sync.Mutex
	last    int
	waiting map[int]chan nodeAnswer
	over    error
}

type nodeAnswer struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  string          `json:"error"`
}

// sharedNode starts the process once. It ends with its stdin, so with the tests.
var sharedNode = sync.OnceValues(func() (*nodeProcess, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dir, err := installSDK(ctx)
	if err != nil {
		return nil, err
	}
	p := &nodeProcess{waiting: map[int]chan nodeAnswer{}}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "node", filepath.Join("node", "client.mjs"), dir)
	cmd.Env = append(os.Environ(), "TZ=Asia/Shanghai", "NO_PROXY=127.0.0.1", "NODE_OPTIONS=") // the SDK signs local time
	cmd.Stderr = &p.stderr
	stdin, inErr := cmd.StdinPipe()
	stdout, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return nil, err
	}
	p.stdin = stdin
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start node: %w", err)
	}
	go p.listen(cmd, stdout)
	return p, nil
})

func (p *nodeProcess) listen(cmd *exec.Cmd, stdout io.Reader) {
	reader := bufio.NewReader(stdout)
	var err error
	for {
		var line []byte
		if line, err = reader.ReadBytes('\n'); err != nil {
			break
		}
		var a nodeAnswer
		if err = json.Unmarshal(line, &a); err != nil {
			break
		}
		p.mu.Lock()
		asked := p.waiting[a.ID]
		delete(p.waiting, a.ID)
		p.mu.Unlock()
		if asked != nil {
			asked <- a
		}
	}
	_ = cmd.Process.Kill()
	ended := cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = fmt.Errorf("node has ended: %w, %w\n%s", err, ended, p.stderr.String())
	for _, asked := range p.waiting {
		close(asked)
	}
}

// do asks one question and waits for its answer.
func (p *nodeProcess) do(ctx context.Context, question map[string]any, result any) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	asked, err := p.send(question)
	if err != nil {
		return err
	}
	select {
	case a, alive := <-asked:
		if !alive {
			return p.ended()
		}
		if a.Error != "" {
			return errors.New("node: " + a.Error)
		}
		return json.Unmarshal(a.Result, result)
	case <-ctx.Done():
		return fmt.Errorf("node does not answer: %w", ctx.Err())
	}
}

func (p *nodeProcess) ended() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over
}

func (p *nodeProcess) send(question map[string]any) (asked chan nodeAnswer, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over != nil {
		return nil, p.over
	}
	p.last++
	question["id"] = p.last
	line, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	asked = make(chan nodeAnswer, 1)
	p.waiting[p.last] = asked
	_, err = p.stdin.Write(append(line, '\n'))
	return asked, err
}

// oldestNode is what alipay-sdk asks for.
const oldestNode = 18

// checkNode says what is missing, in words that help.
func checkNode(ctx context.Context) error {
	wants := fmt.Sprintf("this test runs Alipay's SDK for Node.js, which needs Node %d or newer with npm; "+
		"`make test` installs both on Debian and Ubuntu", oldestNode)
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: %s", err, wants)
		}
	}
	version, err := exec.CommandContext(ctx, "node", "-p", "process.versions.node").Output()
	if err != nil {
		return fmt.Errorf("node does not run: %w: %s", err, wants)
	}
	major, _, _ := strings.Cut(string(version), ".")
	if number, err := strconv.Atoi(major); err != nil || number < oldestNode {
		return fmt.Errorf("node is version %s: %s", strings.TrimSpace(string(version)), wants)
	}
	return nil
}

// installSDK gives the folder with Alipay's SDK.
func installSDK(ctx context.Context) (dir string, err error) {
	if err := checkNode(ctx); err != nil {
		return "", err
	}
	return devtest.NodeModules(ctx, "node")
}
