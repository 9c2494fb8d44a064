package crosscheck

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
)

// value is a text that some client, encoder or gateway has stumbled over. plain also is a proper pay number.
type value struct{ name, text string }

var values = []value{
	{"plain", "plain_text"},
	{"percent", "100% %41 %2B %zz"},
	{"plus", "C++ + 数学 1+1"},
	{"emoji", "😀👩‍🎓 课程①"},
	{"slash", `a/b \/ \\ c`},
	{"mixed", `100% %41 C++ 😀 \/ / & a&b "q" {"sign":"x"}, }{`}, // all of them in one
	// The rest goes through successes only, to save time.
	{"ampersand", "a&b &amp; x=1 <i>"},
	{"quotes", `"q" 'q' “q” {"sign":"x"}, }{`},
	{"spaces", "  two  spaces at both ends  "},
}

// inEveryCell are the values that go through all outcomes; forGBK the same for clients in GBK, which is there to see that
// it comes through: the rest goes as in UTF-8.
var inEveryCell, forGBK = values[:6], []value{values[0], values[1], values[5]}

var (
	plain = values[0]
	// trailing is Chinese whose second bytes in GBK are } and \: who works on its bytes may take them for such.
	trailing = value{"trailing bytes", "倉庫 誠信 end"}
)

// subject is the text without what Alipay forbids in a subject.
func (v value) subject() string {
	return strings.NewReplacer("/", "", "=", "", "&", "").Replace(v.text)
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
}

// toGBK gives the bytes of a character; false: GBK has no such character.
func toGBK(r rune) (string, bool) {
	text, err := simplifiedchinese.GBK.NewEncoder().String(string(r))
	return text, err == nil
}

// fromGBK reads bytes.
func fromGBK(text string) string {
	decoded, err := simplifiedchinese.GBK.NewDecoder().String(text)
	if err != nil {
		return "not GBK: " + text
	}
	return decoded
}

// throughGBK is what is left of a text that has gone through GBK.
func throughGBK(text string) string {
	return strings.Map(func(r rune) rune {
		if _, ok := toGBK(r); !ok {
			return '?'
		}
		return r
	}, text)
}

// gbkJSON is from as JSON in GBK. What GBK lacks is escaped, and so is a character with the byte of a backslash in it,
// which encoding/json would take for one.
func gbkJSON(from any) (json.RawMessage, error) {
	text, err := json.Marshal(from)
	if err != nil {
		return nil, err
	}
	var recoded strings.Builder
	for _, r := range string(text) {
		if encoded, ok := toGBK(r); ok && (r < utf8.RuneSelf || !strings.Contains(encoded, `\`)) {
			recoded.WriteString(encoded)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&recoded, `\u%04x`, unit)
		}
	}
	return json.RawMessage(recoded.String()), nil
}
