package models_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"coursepay/models"
)

// chooseMaterial picks the demo's material 102 (¥9.90).
func (b *books) chooseMaterial(user string) models.ChooseMaterial {
	b.t.Helper()
	chosen, err := b.ChooseMaterial(b.t.Context(), user, 102)
	require.NoError(b.t, err)
	return chosen
}

func materialRequest(c models.ChooseMaterial, requestID string) models.PayRequest {
	return models.PayRequest{
		RequestID: requestID, UserID: c.UserID, OrderType: models.OrderMaterial, OutBusinessID: c.ID.String(),
		TotalPrice: c.MaterialPrice,
	}
}

func (b *books) materialAttempt(c models.ChooseMaterial, requestID string) models.PayRecord {
	b.t.Helper()
	attempt, err := b.CreateAttempt(b.t.Context(), materialRequest(c, requestID), b.now.Add(15*time.Minute))
	require.NoError(b.t, err)
	require.Empty(b.t, attempt.Opened)
	return attempt.Record
}

// buyMaterial chooses and pays material 102.
func (b *books) buyMaterial(user, trade string) (models.ChooseMaterial, models.PayRecord) {
	b.t.Helper()
	chosen := b.chooseMaterial(user)
	record := b.materialAttempt(chosen, "r")
	done, err := b.Settle(b.t.Context(), b.payment(record, trade))
	require.NoError(b.t, err)
	require.Empty(b.t, done.GiveBack)
	return chosen, record
}

// refundWhole gives back all that the attempt brought.
func (b *books) refundWhole(record models.PayRecord, trade string) {
	b.t.Helper()
	no := models.StoryRefundNo(record.PayNo)
	_, err := b.OpenRefund(b.t.Context(), models.RefundRequest{
		OrderID: record.OrderID, PayNo: record.PayNo, RequestNo: no, Amount: record.TotalPrice, Origin: models.RefundByOperator,
	})
	require.NoError(b.t, err)
	_, err = b.BookRefund(b.t.Context(), no, models.TradeRefund{
		PayNo: record.PayNo.String(), RequestNo: no, TradeNo: trade, Refunded: true, Amount: record.TotalPrice, At: b.now,
	})
	require.NoError(b.t, err)
}

func (b *books) materialRights(user string) []models.MaterialRight {
	b.t.Helper()
	rights, total, err := b.MaterialRights(b.t.Context(), user, 1, 100)
	require.NoError(b.t, err)
	require.EqualValues(b.t, len(rights), total)
	return rights
}

func TestOnePendingChoiceALearnerAndMaterial(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	for _, err := range atOnce(20, func(int) error { _, err := b.ChooseMaterial(t.Context(), "u", 102); return err }) {
		require.NoError(t, err)
	}
	require.Equal(t, 1, b.count(`select count(*) from xc_choose_material`))
	choose := func() error { _, err := b.ChooseMaterial(t.Context(), "w", 102); return err }
	b.meet("xc_choose_material", choose, choose)
	require.NotEqual(t, b.chooseMaterial("u").ID, b.chooseMaterial("v").ID)
	require.Equal(t, models.ChoosePending, b.chooseMaterial("u").Status)
	require.Error(t, b.exec(`insert into xc_choose_material select 1, material_id, material_name, user_id, company_id,
		material_price, status, create_date from xc_choose_material where user_id = 'u'`), "whatever the code does")
}

func TestUnknownAndOfflineMaterialsCannotBeChosen(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	for _, id := range []models.ID{104, 1, 9999} {
		_, err := b.ChooseMaterial(t.Context(), "u", id)
		requireRefused(t, err, models.CodeMaterialNotFound)
	}
	materials, err := b.Materials(t.Context())
	require.NoError(t, err)
	require.Len(t, materials, 3, "those that are published")
	require.Equal(t, models.ID(101), materials[0].ID)
}

func TestMaterialIsBoughtByTheSameSettling(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.chooseMaterial("u")
	record := b.materialAttempt(chosen, "r")
	require.Equal(t, models.Money(9_90), record.TotalPrice)
	require.Equal(t, 1, b.count(`select count(*) from xc_orders_goods where goods_id = '102' and goods_type = '60202' and goods_price = 9.90`))
	b.now = b.now.Add(time.Minute)
	for _, err := range atOnce(20, func(int) error { _, err := b.Settle(t.Context(), b.payment(record, "T")); return err }) {
		require.NoError(t, err)
	}
	rights := b.materialRights("u")
	require.Len(t, rights, 1)
	require.Equal(t, models.ID(102), rights[0].MaterialID)
	require.Equal(t, chosen.ID, rights[0].ChooseMaterialID)
	require.Equal(t, b.now, rights[0].CreateDate.UTC())
	require.Empty(t, b.materialRights("v"))
	require.Equal(t, 1, b.count(`select count(*) from mq_message where business_key1 = $1 and business_key2 = '60202'`, chosen.ID.String()))
	require.Zero(t, b.count(`select count(*) from xc_course_tables`))

	again := b.chooseMaterial("u")
	require.Equal(t, chosen.ID, again.ID)
	require.Equal(t, models.ChooseDone, again.Status, "the right is there already")
	requireRefused(t, b.CheckPayRequest(t.Context(), materialRequest(chosen, "r2")), models.CodeOrderPaid)
}

func TestMaterialRequestsThatDifferAreRefused(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.chooseMaterial("u")
	aCourse := b.choose("u")
	good := models.GoodsClaim{GoodsID: "102", GoodsType: "60202", GoodsPrice: 9_90}
	for name, tc := range map[string]struct {
		change func(*models.PayRequest)
		want   models.Code
	}{
		"another price":        {func(r *models.PayRequest) { r.TotalPrice = 1 }, models.CodePriceMismatch},
		"another user":         {func(r *models.PayRequest) { r.UserID = "v" }, models.CodeChooseNotFound},
		"unknown business":     {func(r *models.PayRequest) { r.OutBusinessID = "4711" }, models.CodeChooseNotFound},
		"no id":                {func(r *models.PayRequest) { r.OutBusinessID = "x" }, models.CodeChooseNotFound},
		"a course as material": {func(r *models.PayRequest) { r.OutBusinessID = aCourse.ID.String() }, models.CodeChooseNotFound},
		"a material as course": {func(r *models.PayRequest) { r.OrderType = models.OrderCourse }, models.CodeChooseNotFound},
		"other goods":          {func(r *models.PayRequest) { r.Goods = []models.GoodsClaim{{"103", "60202", 9_90}} }, models.CodeGoodsMismatch},
		"goods of a course":    {func(r *models.PayRequest) { r.Goods = []models.GoodsClaim{{"102", "60201", 9_90}} }, models.CodeGoodsMismatch},
		"other goods price":    {func(r *models.PayRequest) { r.Goods = []models.GoodsClaim{{"102", "60202", 1}} }, models.CodeGoodsMismatch},
		"two goods":            {func(r *models.PayRequest) { r.Goods = []models.GoodsClaim{good, good} }, models.CodeGoodsMismatch},
	} {
		r := materialRequest(chosen, "r")
		tc.change(&r)
		_, err := b.CreateAttempt(t.Context(), r, b.now.Add(time.Minute))
		code, _ := models.RefusalCode(err)
		require.Equal(t, tc.want, code, name)
	}
	require.Zero(t, b.count(`select count(*) from xc_orders`))
	r := materialRequest(chosen, "r")
	r.Goods = []models.GoodsClaim{good}
	require.NoError(t, b.CheckPayRequest(t.Context(), r))
}

func TestMaterialPriceIsFollowedUntilAnOrderFixesIt(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	old := b.chooseMaterial("u")
	require.NoError(t, b.exec(`update learning_material set price = 12.00 where id = 102`))
	requireRefused(t, b.CheckPayRequest(t.Context(), materialRequest(old, "r")), models.CodePriceChanged)
	chosen := b.chooseMaterial("u")
	require.Equal(t, old.ID, chosen.ID)
	require.Equal(t, models.Money(12_00), chosen.MaterialPrice)
	record := b.materialAttempt(chosen, "r")

	require.NoError(t, b.exec(`update learning_material set price = 13.00 where id = 102`))
	require.Equal(t, models.Money(12_00), b.chooseMaterial("u").MaterialPrice, "the order has fixed it")
	b.now = b.now.Add(15 * time.Minute)
	_, err := b.CloseOrder(t.Context(), record.OrderID)
	require.NoError(t, err)
	require.Equal(t, models.Money(13_00), b.chooseMaterial("u").MaterialPrice, "a closed order fixes nothing")

	require.NoError(t, b.exec(`update learning_material set status = '203003' where id = 102`))
	r := materialRequest(chosen, "r2")
	r.TotalPrice = 13_00
	requireRefused(t, b.CheckPayRequest(t.Context(), r), models.CodeMaterialNotFound)
}

// The price changes, and the learner chooses again, while the order with the old price is being written.
func TestMaterialPriceChangesWhileTheOrderIsMade(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.chooseMaterial("u")
	b.meet("xc_orders", func() error {
		_, err := b.CreateAttempt(t.Context(), materialRequest(chosen, "r"), b.now.Add(time.Minute))
		return err
	}, func() error {
		require.NoError(t, b.exec(`update learning_material set price = 12.00 where id = 102`))
		_, err := b.ChooseMaterial(t.Context(), "u", 102)
		return err
	})
	require.Equal(t, 1, b.count(`select count(*) from xc_orders o join xc_choose_material c on c.id::text = o.out_business_id
		where o.total_price = c.material_price and o.total_price = 9.90`))
}

// The learner chooses again while the payment is being settled: the material is not offered for sale once more.
func TestChoosingAMaterialWhileItsPaymentIsSettled(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	record := b.materialAttempt(b.chooseMaterial("u"), "r")
	var chosen models.ChooseMaterial
	b.meet("xc_material_rights", func() error {
		_, err := b.Settle(t.Context(), b.payment(record, "T"))
		return err
	}, func() (err error) {
		chosen, err = b.ChooseMaterial(t.Context(), "u", 102)
		return err
	})
	require.Equal(t, models.ChooseDone, chosen.Status)
	require.Equal(t, 1, b.count(`select count(*) from xc_choose_material`))
}

func TestMaterialThatTheLearnerHasCannotBeBoughtAgain(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	chosen := b.chooseMaterial("u")
	require.NoError(t, b.exec(`insert into xc_choose_material select 4711, material_id, material_name, user_id, company_id,
		material_price, '701001', create_date from xc_choose_material`))
	require.NoError(t, b.exec(`insert into xc_material_rights select 1, id, user_id, material_id, material_name, create_date
		from xc_choose_material where id = 4711`))
	requireRefused(t, b.CheckPayRequest(t.Context(), materialRequest(chosen, "r")), models.CodeOrderPaid)
	require.Error(t, b.exec(`insert into xc_material_rights select 2, id, user_id, material_id, material_name, create_date
		from xc_choose_material where id <> 4711`), "second right a learner and material")
	require.NoError(t, b.exec(`delete from xc_material_rights`))
	chosen.ID = 4711
	requireRefused(t, b.CheckPayRequest(t.Context(), materialRequest(chosen, "r")), models.CodeOrderPaid)
}

func TestLatePaymentOfAMaterialFollowsTheCatalogue(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change string
		want   models.RefundOrigin
	}{
		"still offered":      {`select 1`, ""},
		"at another price":   {`update learning_material set price = 12.00 where id = 102`, models.RefundNotForSale},
		"no longer offered":  {`update learning_material set status = '203003' where id = 102`, models.RefundNotForSale},
		"chosen anew dearer": {`update xc_choose_material set material_price = 12.00`, models.RefundNotForSale},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := openBooks(t)
			record := b.materialAttempt(b.chooseMaterial("u"), "r")
			_, err := b.OpenAttempt(t.Context(), record.PayNo)
			require.NoError(t, err)
			_, err = b.CancelOrder(t.Context(), record.OrderID)
			require.NoError(t, err)
			require.NoError(t, b.exec(tc.change))
			done, err := b.Settle(t.Context(), b.payment(record, "T"))
			require.NoError(t, err)
			require.Equal(t, tc.want, done.GiveBack)
			require.Len(t, b.materialRights("u"), map[bool]int{true: 1}[tc.want == ""])
		})
	}
}

func TestMaterialSubscriberMendsAndObeysTheOrder(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	pending := b.chooseMaterial("v")
	b.materialAttempt(pending, "r")
	fulfilled, err := b.Fulfil(t.Context(), models.OrderMaterial, pending.ID.String())
	require.NoError(t, err)
	require.False(t, fulfilled, "nobody has paid")
	require.Empty(t, b.materialRights("v"))

	chosen, record := b.buyMaterial("u", "T")
	was := b.materialRights("u")
	require.NoError(t, b.exec(`delete from xc_material_rights`))
	b.now = b.now.AddDate(0, 0, 3)
	for _, err := range atOnce(10, func(int) error {
		_, err := b.Fulfil(t.Context(), models.OrderMaterial, chosen.ID.String())
		return err
	}) {
		require.NoError(t, err)
	}
	mended := b.materialRights("u")
	require.Len(t, mended, 1)
	require.Equal(t, was[0].CreateDate, mended[0].CreateDate, "it is as it was")

	revoked, err := b.Revoke(t.Context(), models.OrderMaterial, chosen.ID.String())
	require.NoError(t, err)
	require.False(t, revoked, "its money has not gone back")
	_, err = b.Fulfil(t.Context(), models.OrderCourse, chosen.ID.String())
	requireRefused(t, err, models.CodeNotFound)
	b.refundWhole(record, "T")
	fulfilled, err = b.Fulfil(t.Context(), models.OrderMaterial, chosen.ID.String())
	require.NoError(t, err)
	require.False(t, fulfilled, "a message that comes late does not give it again")
	require.Empty(t, b.materialRights("u"))
}

func TestRefundedMaterialIsTakenBackAndCanBeBoughtAgain(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	b.buyMaterial("v", "T0")
	chosen, record := b.buyMaterial("u", "T1")
	b.refundWhole(record, "T1")
	require.Empty(t, b.materialRights("u"))
	require.Equal(t, 1, b.count(`select count(*) from xc_choose_material where id = $1 and remarks = '已退款'`, int64(chosen.ID)))
	require.Equal(t, 1, b.count(`select count(*) from mq_message where message_type = 'refund_notify' and business_key2 = '60202'`))
	require.NoError(t, b.exec(`insert into xc_material_rights select 1, id, user_id, material_id, material_name, create_date
		from xc_choose_material where id = $1`, int64(chosen.ID)))
	for range 2 {
		revoked, err := b.Revoke(t.Context(), models.OrderMaterial, chosen.ID.String())
		require.NoError(t, err)
		require.True(t, revoked)
		require.Empty(t, b.materialRights("u"), "by the subscriber too")
	}
	requireRefused(t, b.CheckPayRequest(t.Context(), materialRequest(chosen, "r2")), models.CodeOrderRefunded)

	again, _ := b.buyMaterial("u", "T2")
	require.NotEqual(t, chosen.ID, again.ID)
	require.Len(t, b.materialRights("u"), 1)
	revoked, err := b.Revoke(t.Context(), models.OrderMaterial, chosen.ID.String())
	require.NoError(t, err)
	require.True(t, revoked)
	require.Len(t, b.materialRights("u"), 1, "an old refund's message leaves the new purchase alone")
	require.Len(t, b.materialRights("v"), 1)
}

func TestMaterialRightsInPages(t *testing.T) {
	t.Parallel()
	b := openBooks(t)
	for i, id := range []models.ID{101, 102, 103} {
		b.now = b.now.Add(time.Hour)
		chosen, err := b.ChooseMaterial(t.Context(), "u", id)
		require.NoError(t, err)
		_, err = b.Settle(t.Context(), b.payment(b.materialAttempt(chosen, "r"), "T"+string(rune('0'+i))))
		require.NoError(t, err)
	}
	rights, total, err := b.MaterialRights(t.Context(), "u", 2, 2)
	require.NoError(t, err)
	require.EqualValues(t, 3, total)
	require.Len(t, rights, 1)
	require.Equal(t, models.ID(101), rights[0].MaterialID, "the first comes last")
}
