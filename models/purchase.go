package models

import (
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// PayRequest is what a learner asks to pay for. Price and goods are the client's claim: they decide nothing, but a claim
// that differs from our tables is refused, because somebody is looking at a wrong price.
type PayRequest struct {
	RequestID     string       `json:"requestId"` // a repeat under the same name finds the same pay record
	UserID        string       `json:"userId"`
	OrderType     OrderType    `json:"orderType"`
	OutBusinessID string       `json:"outBusinessId"`
	TotalPrice    Money        `json:"totalPrice"`
	OrderDescrip  string       `json:"orderDescrip,omitempty"`
	Goods         []GoodsClaim `json:"goods,omitempty"`
}

// GoodsClaim is one entry of the original's orderDetail.
type GoodsClaim struct {
	GoodsID    string `json:"goodsId"`
	GoodsType  string `json:"goodsType"`
	GoodsPrice Money  `json:"goodsPrice"`
}

// goods is what can be bought, read from our own tables.
type goods struct {
	userID string
	name   string
	price  Money
	lines  []OrderGoods
	sold   bool // it was paid for already, or the learner has it in another way
}

// kind is one type of order: how its goods are found, and how they are handed over once paid.
type kind struct {
	// find reads the goods through a handle that may lock what it reads.
	find func(s *Store, tx *gorm.DB, outBusinessID string) (goods, error)

	// fulfil hands the goods over. It is called by every settling and by every message about it, so a repeat must
	// change nothing, and must put back what is missing.
	fulfil func(s *Store, tx *gorm.DB, order Order, paidAt time.Time) error
}

// kinds lists everything that can be bought.
var kinds = map[OrderType]kind{
	OrderCourse: {find: findChosenCourse, fulfil: fulfilChosenCourse},
}

func kindOf(t OrderType) (kind, error) {
	k, ok := kinds[t]
	if !ok {
		return kind{}, Refuse(CodeOrderTypeUnknown, "order type %s", t)
	}
	return k, nil
}

func findChosenCourse(s *Store, tx *gorm.DB, outBusinessID string) (goods, error) {
	id, err := ParseID(outBusinessID)
	if err != nil {
		return goods{}, Refuse(CodeChooseNotFound, "outBusinessId %q", outBusinessID)
	}
	chosen, err := first[ChooseCourse](tx.Where("id = ? and order_type = ?", id, ChoosePaid), CodeChooseNotFound)
	if err != nil {
		return goods{}, err
	}
	owned, err := enrolment(tx, chosen.UserID, chosen.CourseID)
	if err != nil {
		return goods{}, err
	}
	return goods{
		userID: chosen.UserID,
		name:   chosen.CourseName,
		price:  chosen.CoursePrice,
		sold:   chosen.Status == ChooseDone || owned.Status(s.now()) == LearnNormal,
		lines: []OrderGoods{{
			GoodsID: chosen.CourseID.String(), GoodsType: string(OrderCourse), GoodsName: chosen.CourseName, GoodsPrice: chosen.CoursePrice,
		}},
	}, nil
}

// checkStillOffered refuses what the catalogue no longer sells, or sells at another price than the learner chose.
func checkStillOffered(tx *gorm.DB, g goods) error {
	for _, line := range g.lines {
		id, err := ParseID(line.GoodsID)
		if err != nil {
			return Refuse(CodeCourseNotFound, "goods id %q", line.GoodsID)
		}
		course, err := publishedCourse(tx, id)
		if err != nil {
			return err
		}
		if course.Price != line.GoodsPrice {
			return Refuse(CodePriceChanged, "chosen at %s, now %s", line.GoodsPrice, course.Price)
		}
	}
	return nil
}

// checkClaim compares what the client says with what our tables say.
func (g goods) checkClaim(r PayRequest) error {
	if g.price != r.TotalPrice {
		return Refuse(CodePriceMismatch, "claimed %s, is %s", r.TotalPrice, g.price)
	}
	if len(r.Goods) == 0 {
		return nil
	}
	if len(r.Goods) != len(g.lines) {
		return Refuse(CodeGoodsMismatch, "claimed %d goods, are %d", len(r.Goods), len(g.lines))
	}
	for i, claim := range r.Goods {
		line := g.lines[i]
		if claim.GoodsID != line.GoodsID || claim.GoodsType != line.GoodsType || claim.GoodsPrice != line.GoodsPrice {
			return Refuse(CodeGoodsMismatch, "goods %d claimed as %+v", i, claim)
		}
	}
	return nil
}

// detail is the goods as the original keeps them in order_detail.
func (g goods) detail() (string, error) {
	type entry struct {
		GoodsID    string `json:"goodsId"`
		GoodsType  string `json:"goodsType"`
		GoodsName  string `json:"goodsName"`
		GoodsPrice Money  `json:"goodsPrice"`
	}
	entries := make([]entry, len(g.lines))
	for i, l := range g.lines {
		entries[i] = entry{l.GoodsID, l.GoodsType, l.GoodsName, l.GoodsPrice}
	}
	text, err := json.Marshal(entries)
	return string(text), err
}

// fulfilChosenCourse completes the choice and enrols the learner; validity starts when the money came.
func fulfilChosenCourse(s *Store, tx *gorm.DB, order Order, paidAt time.Time) error {
	id, err := ParseID(order.OutBusinessID)
	if err != nil {
		return Refuse(CodeChooseNotFound, "out_business_id %q", order.OutBusinessID)
	}
	var done []ChooseCourse
	err = tx.Model(&done).Clauses(clause.Returning{}).
		Where("id = ? and status in ?", id, before(chooseTransitions, ChooseDone)).
		Updates(map[string]any{
			"status":          ChooseDone,
			"validtime_start": paidAt,
			"validtime_end":   gorm.Expr("?::timestamptz + valid_days * interval '24 hours'", paidAt),
		}).Error
	if err != nil {
		return fmt.Errorf("complete the choice: %w", err)
	}
	if len(done) == 1 {
		return s.enrol(tx, done[0])
	}
	return s.mendEnrolment(tx, id)
}

// mendEnrolment puts back the course-table row of a completed choice where it is missing.
func (s *Store) mendEnrolment(tx *gorm.DB, chooseCourseID ID) error {
	chosen, err := first[ChooseCourse](tx.Where("id = ?", chooseCourseID), CodeChooseNotFound)
	if err != nil {
		return err
	}
	row, err := enrolment(tx, chosen.UserID, chosen.CourseID)
	if err != nil || row != nil {
		return err
	}
	return s.enrol(tx, chosen)
}
