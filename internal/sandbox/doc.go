// Package sandbox is a fake Alipay for people who integrate Alipay: a gateway that real clients believe, a cashier for
// phones, signed notifies with Alipay's retry schedule, and a control API that pays, closes and injects faults.
//
// It is a simulator: no real money moves, and nothing of it belongs into production. It shares no signing code with
// the rest of this module, since shared code would hide shared bugs.
//
// # A trade's life
//
// A merchant's alipay.trade.wap.pay only opens a page, and its alipay.trade.precreate only makes a QR code. The trade exists
// once the buyer has acted (log-in, payment, scan); until then query and close answer ACQ.TRADE_NOT_EXIST while the page
// stays payable. Past its time_expire an unpaid trade is closed: that is computed from the clock whenever somebody looks,
// no timer is involved.
//
// # Certificates
//
// An app uses public keys or certificates. In certificate mode it sends app_cert_sn and alipay_root_cert_sn and gets
// alipay_cert_sn; GenerateKeys makes the certificates. How to point clients of many languages here: docs/sandbox.md.
//
// # HTTP
//
//	GET|POST /gateway.do                           the gateway
//	GET      /qr/{token}                           what alipay.trade.precreate's qr_code leads to: a scan
//	GET      /bill?…                               a bill, for 30 s
//	GET      /cashier/{outTradeNo}?token=          the cashier; its forms have the ids login, pay and cancel
//	POST     /cashier/{outTradeNo}/login|pay|cancel  form field: token
//	GET      /cashier/{outTradeNo}/result?token=   what became of it; links have the ids return and quit
//	GET      /                                     trades and deliveries for a human
//	GET      /healthz
//	GET      /control/trades?limit=                newest first
//	GET      /control/trades/{outTradeNo}          ?app_id= when several apps use the same number
//	POST     /control/trades/{outTradeNo}/login|pay|close|finish
//	GET|PUT  /control/faults                       see Faults
//	GET      /control/notifies?out_trade_no=&limit=
//	POST     /control/notifies/{id}/resend         id or notify_id; answers when the delivery is over
//	POST     /control/reset                        forgets trades, notifies and faults
//
// The control API answers errors as {"errMessage":"…","code":"…"}; the code is Alipay's sub code where it has one.
package sandbox
