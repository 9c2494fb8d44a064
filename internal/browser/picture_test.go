package browser

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

var picturePath = flag.String("picture", "", "where to put the README's picture; make picture says it")

// board shows what a desktop and a phone show, side by side.
const board = `<!doctype html><title>board</title><style>
body { margin: 0; background: #e4e7e5; display: flex; align-items: center; gap: 28px; padding: 28px; box-sizing: border-box; height: 660px; }
img { display: block; border-radius: 10px; box-shadow: 0 2px 14px rgb(0 0 0 / 22%%); }
.phone { border: 7px solid #1d2522; border-radius: 30px; }
</style><img src="%s" width="900" height="604"><img class="phone" src="%s" width="272" height="588">`

// takePicture makes the picture for the README: the code on the desktop, the cashier on the phone. Chinese needs a font,
// such as Debian's fonts-noto-cjk.
func takePicture(v *visit) {
	p := v.open(screen{"desktop", 1040, 698, false})
	p.goTo("/")
	p.press("login-xiaohong")
	p.says("user", "小红")
	p.view("#/course/2", "Go 微服务实战")
	p.press("learn-now")
	p.state("waiting")
	q := v.cashier(p.code())

	b := v.open(screen{"board", 1270, 660, false})
	b.goTo("about:blank")
	get[bool](b, fmt.Sprintf(`document.write(%s), document.close(), true`, quote(fmt.Sprintf(board, p.dataURL(), q.dataURL()))))
	b.until(`[...document.images].every((i) => i.complete && i.naturalWidth > 0)`)
	picture := b.picture(1)
	path := *picturePath
	if path == "" {
		path = filepath.Join(v.pictures, "picture.png")
	}
	require.NoError(v.t, os.WriteFile(path, picture, 0o600))
	require.Less(v.t, len(picture), 250_000, "for a README")
}

func (p *tab) dataURL() string {
	p.t.Helper()
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(p.picture(1.5))
}

// picture takes a sharp picture.
func (p *tab) picture(scale float64) (picture []byte) {
	p.t.Helper()
	p.call(func(ctx context.Context) (err error) {
		_, err = chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: p.screen.width, Height: p.screen.height, DeviceScaleFactor: scale, Mobile: p.screen.touch,
		})
		if err == nil {
			picture, err = chromedp.Run(ctx, chromedp.CaptureScreenshot())
		}
		return err
	})
	return picture
}
