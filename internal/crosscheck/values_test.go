package crosscheck

import "strings"

// value is a text that some client, encoder or gateway has stumbled over. plain also is a proper pay number.
type value struct{ name, text string }

var values = []value{
	{"plain", "plain_text"},
	{"percent", "100% %41 %2B %zz"},
	{"plus", "C++ + 数学 1+1"},
	{"emoji", "😀👩‍🎓 课程①"},
	{"slash", `a/b \/ \\ c`},
	{"ampersand", "a&b &amp; x=1 <i>"},
	{"quotes", `"q" 'q' “q” {"sign":"x"}, }{`},
	{"spaces", "  two  spaces at both ends  "},
}

var plain = values[0]

// mixed is all of them in one.
var mixed = value{"mixed", `100% %41 C++ 😀 \/ / & a&b "q" {"sign":"x"}, }{`}

// spread says whether a case is worth asking with v: a success with each, everything else with plain and mixed.
func spread(success bool, v value) bool { return v == plain || (v == mixed) != success }

// subject is the text without what Alipay forbids in a subject.
func (v value) subject() string {
	return strings.NewReplacer("/", "", "=", "", "&", "").Replace(v.text)
}
