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

// kind is one type of order: how its goods are found, how they are handed over once paid, and who is told.
type kind struct {
	// find reads the goods through a handle that may lock what it reads.
	find func(s *Store, tx *gorm.DB, outBusinessID string) (goods, error)

	// offered refuses goods that cannot be bought today at the price that they were chosen for.
	offered func(tx *gorm.DB, g goods) error

	// fulfil hands the goods over. It is called by every settling and by every message about it, so a repeat must
	// change nothing, and must put back what is missing.
	fulfil func(s *Store, tx *gorm.DB, order Order, paidAt time.Time) error

	// revoke takes the goods back once all the money has gone back. A repeat must change nothing.
	revoke func(s *Store, tx *gorm.DB, order Order) error

	// queue is the durable queue, on the bus, of the service that the goods belong to.
	queue string
}

// kinds lists everything that can be bought. A new type of order (its code and label are in codes.go) is one entry more:
// its goods are then ordered, paid, handed over and refunded by the same workflow, its queue is declared by every
// publisher and subscribed to by every worker.
var kinds = map[OrderType]kind{
	OrderCourse: {
		find: findChosenCourse, offered: courseOffered, fulfil: fulfilChosenCourse, revoke: revokeChosenCourse,
		queue: "paynotify_queue",
	},
	OrderMaterial: {
		find: findChosenMaterial, offered: materialOffered, fulfil: fulfilChosenMaterial, revoke: revokeChosenMaterial,
		queue: "paynotify_material_queue",
	},
}

// Queues names the queue of each service that wants to hear of its type of order.
func Queues() map[OrderType]string {
	queues := map[OrderType]string{}
	for t, k := range kinds {
		queues[t] = k.queue
	}
	return queues
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

// courseOffered refuses a course that the catalogue no longer sells, or sells at another price than the learner chose.
func courseOffered(tx *gorm.DB, g goods) error {
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

// revokeChosenCourse ends the enrolment that this choice gave. What the learner had before it, such as an earlier
// enrolment that has run out, stands again.
func revokeChosenCourse(s *Store, tx *gorm.DB, order Order) error {
	id, err := ParseID(order.OutBusinessID)
	if err != nil {
		return Refuse(CodeChooseNotFound, "out_business_id %q", order.OutBusinessID)
	}
	var ended []CourseTable
	err = tx.Model(&ended).Clauses(clause.Returning{}).Where("choose_course_id = ?", id).Delete(&ended).Error
	if err != nil || len(ended) == 0 {
		return err
	}
	if err := tx.Model(&ChooseCourse{}).Where("id = ?", id).Update("remarks", Label(OrderRefunded)).Error; err != nil {
		return err
	}
	earlier, err := maybe[ChooseCourse](tx.
		Where("user_id = ? and course_id = ? and status = ? and id <> ?", ended[0].UserID, ended[0].CourseID, ChooseDone, id).
		Where("not exists (select 1 from xc_orders o where o.out_business_id = xc_choose_course.id::text and o.status = ?)", OrderRefunded).
		Order("validtime_end desc"))
	if err != nil || earlier == nil {
		return err
	}
	return s.enrol(tx, *earlier)
}
