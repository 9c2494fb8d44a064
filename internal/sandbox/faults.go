package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"time"
)

// Faults is what goes wrong on purpose. Rates are from 0 (never) to 1 (always), times like "1.5s"; what is left out is
// off. The same seed gives the same faults in the same places: a notify's depend on how many notifies were made since
// the faults were set and on which attempt it is, a gateway's on how many requests came since then.
type Faults struct {
	Seed    int64         `json:"seed,omitzero"`
	Notify  NotifyFaults  `json:"notify,omitzero"`
	Gateway GatewayFaults `json:"gateway,omitzero"`
	Refund  RefundFaults  `json:"refund,omitzero"`
	Race    RaceFaults    `json:"race,omitzero"`
}

// NotifyFaults spoil deliveries. Amount, App and Seller deliver well-signed lies.
type NotifyFaults struct {
	Drop      float64  `json:"drop,omitzero"`      // an attempt never leaves the house; the schedule goes on
	Delay     Duration `json:"delay,omitzero"`     // before the first attempt
	Duplicate float64  `json:"duplicate,omitzero"` // an attempt is sent twice at once
	Reorder   float64  `json:"reorder,omitzero"`   // held back until a later notify was sent, at most 2 s
	Amount    float64  `json:"amount,omitzero"`    // one fen off
	App       float64  `json:"app,omitzero"`       // somebody else's app_id
	Seller    float64  `json:"seller,omitzero"`    // somebody else's seller_id
	Signature float64  `json:"signature,omitzero"` // one bit of it is wrong
	Charset   float64  `json:"charset,omitzero"`   // GBK, validly signed over GBK bytes
	Header    float64  `json:"header,omitzero"`    // the odd captured Content-Type, which otherwise every other one has
}

// GatewayFaults spoil the answers to API requests; pay pages are spared.
type GatewayFaults struct {
	Slow                Duration `json:"slow,omitzero"`                // every answer is that late
	Hang                float64  `json:"hang,omitzero"`                // nothing done, no answer until the client gives up
	HTTP5xx             float64  `json:"http5xx,omitzero"`             // nothing done, 502 or 503
	SystemError         float64  `json:"systemError,omitzero"`         // 20000 or ACQ.SYSTEM_ERROR; done or not: nobody knows
	ExecutedThenTimeout float64  `json:"executedThenTimeout,omitzero"` // done, and then no answer
	Unsigned            float64  `json:"unsigned,omitzero"`            // the answer lacks its signature
	Tampered            float64  `json:"tampered,omitzero"`            // the answer was changed after signing
}

// RefundFaults refuse or hold up refunds that would be right.
type RefundFaults struct {
	Pending       float64 `json:"pending,omitzero"`       // a new refund is answered 10000 with fund_change=N, and not carried out: a repeat may be
	SellerBalance float64 `json:"sellerBalance,omitzero"` // a new refund meets ACQ.SELLER_BALANCE_NOT_ENOUGH
}

// RaceFaults let the buyer act at the worst moment.
type RaceFaults struct {
	PayBeforeClose float64 `json:"payBeforeClose,omitzero"` // the buyer pays just before a close or cancel that could have succeeded
}

// Duration is a time.Duration that reads and writes "1.5s".
type Duration time.Duration

// MarshalText writes time.Duration's form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads time.Duration's form; negative times are refused.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a time like \"1.5s\"", text)
	}
	if parsed < 0 {
		return fmt.Errorf("%q is negative", text)
	}
	*d = Duration(parsed)
	return nil
}

// parseFaults is strict: a misspelt fault that silently does nothing would make a test pass for the wrong reason.
func parseFaults(text []byte) (Faults, error) {
	var f Faults
	if trimmed := bytes.TrimSpace(text); len(trimmed) == 0 || trimmed[0] != '{' {
		return f, errors.New("want one JSON object, {} for none")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return f, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return f, errors.New("something follows the JSON object")
	}
	return f, f.validate()
}

func (f Faults) validate() error {
	var errs []error
	for _, r := range []struct {
		name string
		rate float64
	}{
		{"notify.drop", f.Notify.Drop}, {"notify.duplicate", f.Notify.Duplicate}, {"notify.reorder", f.Notify.Reorder},
		{"notify.amount", f.Notify.Amount}, {"notify.app", f.Notify.App}, {"notify.seller", f.Notify.Seller},
		{"notify.signature", f.Notify.Signature}, {"notify.charset", f.Notify.Charset}, {"notify.header", f.Notify.Header},
		{"gateway.hang", f.Gateway.Hang}, {"gateway.http5xx", f.Gateway.HTTP5xx},
		{"gateway.systemError", f.Gateway.SystemError}, {"gateway.executedThenTimeout", f.Gateway.ExecutedThenTimeout},
		{"gateway.unsigned", f.Gateway.Unsigned}, {"gateway.tampered", f.Gateway.Tampered},
		{"refund.pending", f.Refund.Pending}, {"refund.sellerBalance", f.Refund.SellerBalance}, {"race.payBeforeClose", f.Race.PayBeforeClose},
	} {
		if r.rate < 0 || r.rate > 1 {
			errs = append(errs, fmt.Errorf("%s is %v, want 0 to 1", r.name, r.rate))
		}
	}
	return errors.Join(errs...)
}

// strikes throws the dice for one fault: the same arguments always fall the same way.
func (f Faults) strikes(rate float64, kind string, ordinal int64, attempt int) bool {
	if rate <= 0 {
		return false
	}
	hash := fnv.New64a()
	_, _ = fmt.Fprintf(hash, "%s/%d/%d", kind, ordinal, attempt) // a hash never fails
	dice := rand.New(rand.NewPCG(uint64(f.Seed), hash.Sum64()))  //nolint:gosec // reproducible, not secret
	return dice.Float64() < rate
}

// deliveryPlan is which faults strike one attempt of a notification.
type deliveryPlan struct {
	drop, duplicate, amount, app, seller, signature, charset, header bool
}

func (f Faults) planDelivery(ordinal int64, attempt int) deliveryPlan {
	hit := func(rate float64, kind string) bool { return f.strikes(rate, "notify."+kind, ordinal, attempt) }
	n := f.Notify
	return deliveryPlan{
		drop: hit(n.Drop, "drop"), duplicate: hit(n.Duplicate, "duplicate"), amount: hit(n.Amount, "amount"),
		app: hit(n.App, "app"), seller: hit(n.Seller, "seller"), signature: hit(n.Signature, "signature"),
		charset: hit(n.Charset, "charset"), header: hit(n.Header, "header"),
	}
}

// names lists the faults for the record of the attempt.
func (p deliveryPlan) names() []string {
	var names []string
	for _, f := range []struct {
		on   bool
		name string
	}{
		{p.drop, "drop"}, {p.duplicate, "duplicate"}, {p.amount, "amount"}, {p.app, "app"}, {p.seller, "seller"},
		{p.signature, "signature"}, {p.charset, "charset"}, {p.header, "header"},
	} {
		if f.on {
			names = append(names, f.name)
		}
	}
	return names
}

// answerPlan is which faults strike one API request.
type answerPlan struct {
	slow                                                                      time.Duration
	hang, http5xx, systemError, coin, executedThenTimeout, unsigned, tampered bool
}

func (f Faults) planAnswer(ordinal int64) answerPlan {
	hit := func(rate float64, kind string) bool { return f.strikes(rate, "gateway."+kind, ordinal, 0) }
	g := f.Gateway
	return answerPlan{
		slow: time.Duration(g.Slow), hang: hit(g.Hang, "hang"), http5xx: hit(g.HTTP5xx, "http5xx"),
		systemError: hit(g.SystemError, "systemError"), coin: hit(0.5, "coin"),
		executedThenTimeout: hit(g.ExecutedThenTimeout, "executedThenTimeout"),
		unsigned:            hit(g.Unsigned, "unsigned"), tampered: hit(g.Tampered, "tampered"),
	}
}
