package models

import "time"

// PayCode is a pay record with its QR code: what a learner gets who asks to pay.
type PayCode struct {
	ID         ID         `json:"id"`
	PayNo      ID         `json:"payNo"`
	OrderID    ID         `json:"orderId"`
	OrderName  string     `json:"orderName"`
	TotalPrice Money      `json:"totalPrice"`
	Currency   string     `json:"currency"`
	PayChannel PayChannel `json:"outPayChannel"`
	UserID     string     `json:"userId"`
	Status     PayStatus  `json:"status"`
	CreateDate time.Time  `json:"createDate"`
	ExpireDate time.Time  `json:"expireDate"`
	QRCode     string     `json:"qrcode"`           // data:image/png;base64,…
	Opened     []ID       `json:"opened,omitempty"` // close these at Alipay and ask again; of all else, only OrderID is set
}
