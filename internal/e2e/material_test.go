package e2e

import (
	"net/http"
	"slices"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"coursepay/internal/buyer"
	"coursepay/internal/mq"
	"coursepay/models"
	"coursepay/workflows"
)

const (
	material      = "101"
	materialPrice = "19.90"
)

// materialCodeFor chooses the material for the user and asks for a code.
func (s *shop) materialCodeFor(user string) (buyer.MaterialChoice, buyer.PayRecord) {
	s.t.Helper()
	choice, err := s.learner(user).ChooseMaterial(s.t.Context(), material)
	require.NoError(s.t, err)
	record, err := s.learner(user).RequestMaterialCode(s.t.Context(), choice)
	require.NoError(s.t, err)
	return choice, record
}

// granted waits until the learner may download the material and the message has been confirmed.
func (s *shop) granted(user string) {
	s.t.Helper()
	s.eventually(1, `select count(*) from xc_material_rights where user_id = $1 and material_id = $2`, user, material)
	s.eventually(0, `select count(*) from mq_message`)
}

func TestBuyAMaterial(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	heard := s.listen()
	learner := s.learner("52")
	offered, err := learner.Materials(t.Context())
	require.NoError(t, err)
	i := slices.IndexFunc(offered, func(m buyer.Material) bool { return m.ID == material })
	require.GreaterOrEqual(t, i, 0)
	require.Equal(t, materialPrice, offered[i].Price.String())
	require.False(t, slices.ContainsFunc(offered, func(m buyer.Material) bool { return m.ID == "104" }), "it was taken offline")

	choice, record := s.materialCodeFor("52")
	require.Equal(t, "701002", choice.Status)
	require.Equal(t, materialPrice, record.TotalPrice.String())
	require.Equal(t, offered[i].Name, record.OrderName)
	mine, err := learner.MyMaterials(t.Context())
	require.NoError(t, err)
	require.Empty(t, mine, "not paid yet")
	s.pay(record)
	s.granted("52")

	mine, err = learner.MyMaterials(t.Context())
	require.NoError(t, err)
	require.Len(t, mine, 1)
	require.Equal(t, choice.ID, mine[0].ChooseMaterialID)
	require.Equal(t, material, mine[0].MaterialID)
	result, err := learner.PayResult(t.Context(), record.PayNo)
	require.NoError(t, err)
	require.Equal(t, "601002", result.Status)
	again, err := learner.ChooseMaterial(t.Context(), material)
	require.NoError(t, err)
	require.Equal(t, choice.ID, again.ID)
	require.Equal(t, "701001", again.Status)
	theirs, err := s.learner("53").MyMaterials(t.Context())
	require.NoError(t, err)
	require.Empty(t, theirs)
	require.Len(t, heard(), 1)
	require.Zero(t, s.count(`select count(*) from xc_course_tables`))

	require.Equal(t, 1, s.count(`select count(*) from xc_orders where order_type = '60202' and out_business_id = $1 and status = '600002'`, choice.ID))
	_, err = s.engine.DescribeWorkflowExecution(t.Context(), workflows.PayOrderID(models.OrderMaterial, choice.ID), "")
	require.NoError(t, err, "by the same workflow")
}

func TestMaterialThatMustNotBeSold(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	choice, err := s.learner("52").ChooseMaterial(t.Context(), material)
	require.NoError(t, err)
	aCourse, err := s.learner("52").Choose(t.Context(), course)
	require.NoError(t, err)
	goods := func(detail string) string {
		return `{"totalPrice":19.9,"orderType":"60202","orderDetail":"` + detail + `","outBusinessId":"` + choice.ID + `"}`
	}
	for name, tc := range map[string]struct {
		path, user, body, code string
		status                 int
	}{
		"wrong owner":      {"/orders/generatepaycode", "53", payCodeBody(19.9, "60202", choice.ID), "CHOOSE_COURSE_NOT_FOUND", 404},
		"wrong price":      {"/orders/generatepaycode", "52", payCodeBody(0.01, "60202", choice.ID), "PRICE_MISMATCH", 400},
		"wrong goods":      {"/orders/generatepaycode", "52", goods(`[{\"goodsId\":102,\"goodsType\":\"60202\",\"goodsPrice\":19.9}]`), "GOODS_MISMATCH", 400},
		"goods' price":     {"/orders/generatepaycode", "52", goods(`[{\"goodsId\":101,\"goodsType\":\"60202\",\"goodsPrice\":9.9}]`), "GOODS_MISMATCH", 400},
		"as a course":      {"/orders/generatepaycode", "52", payCodeBody(19.9, "60201", choice.ID), "CHOOSE_COURSE_NOT_FOUND", 404},
		"a course instead": {"/orders/generatepaycode", "52", payCodeBody(129, "60202", aCourse.ID), "CHOOSE_COURSE_NOT_FOUND", 404},
		"unknown material": {"/learning/choosematerial/4711", "52", "", "MATERIAL_NOT_FOUND", 404},
		"offline material": {"/learning/choosematerial/104", "52", "", "MATERIAL_NOT_FOUND", 404},
		"huge id":          {"/learning/choosematerial/9999999999999999999", "52", "", "INVALID_REQUEST", 400},
	} {
		status, text := s.call(http.MethodPost, tc.path, s.token(tc.user), "application/json", tc.body)
		require.Equal(t, tc.status, status, "%s: %s", name, text)
		code, _ := errorBody(t, text)
		require.Equal(t, tc.code, code, name)
	}
	status, _ := s.call(http.MethodPost, "/learning/choosematerial/"+material, "", "", "")
	require.Equal(t, http.StatusUnauthorized, status)
	status, _ = s.call(http.MethodGet, "/learning/mymaterials", "", "", "")
	require.Equal(t, http.StatusUnauthorized, status)
	require.Zero(t, s.count(`select count(*) from xc_orders`))
}

// Both subscribers get every message of the fanout. Learning's leaves one about a material alone; the other grants the
// right, by itself.
func TestTwoSubscribersOfTheFanOut(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	_, record := s.materialCodeFor("52")
	s.pay(record)
	s.granted("52")
	s.quit()
	_, err := s.db.ExecContext(t.Context(), `delete from xc_material_rights`)
	require.NoError(t, err)
	queues := models.Queues()
	learning, materials := queues[models.OrderCourse], queues[models.OrderMaterial]
	bus := s.bus()
	depth := func(queue string) int {
		state, err := bus.QueueDeclarePassive(queue, true, false, false, false, nil)
		require.NoError(t, err)
		return state.Messages
	}
	for _, queue := range []string{learning, materials} { // the worker may have stopped before it took the message
		_, err := bus.QueuePurge(queue, false)
		require.NoError(t, err)
	}
	s.publishAgain()
	require.Equal(t, 1, depth(learning))
	require.Equal(t, 1, depth(materials))

	held, found, err := bus.Get(materials, false) // so that only learning's subscriber has one
	require.NoError(t, err)
	require.True(t, found)
	require.True(t, waitFor(func() bool {
		s.quit = s.work()
		require.True(t, waitFor(func() bool { return depth(learning) == 0 }))
		s.quit()
		return depth(learning) == 0 // or it was given back, not worked on
	}))
	require.Zero(t, s.count(`select count(*) from xc_material_rights`), "it is not learning's to grant")

	require.NoError(t, held.Nack(false, true))
	s.quit = s.work()
	s.granted("52")
	require.True(t, waitFor(func() bool { return depth(materials) == 0 }))
	require.Zero(t, depth(learning+".dlq")+depth(materials+".dlq"))
}

// bus is a look at the broker that goes past the code under test.
func (s *shop) bus() *amqp.Channel {
	s.t.Helper()
	connection, err := amqp.Dial(s.amqp)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = connection.Close() })
	channel, err := connection.Channel()
	require.NoError(s.t, err)
	return channel
}

// publishAgain publishes the one message of the shop's history once more.
func (s *shop) publishAgain() {
	s.t.Helper()
	var m models.Message
	err := s.db.QueryRowContext(s.t.Context(), `select id, message_type, business_key1, business_key2 from mq_message_history`).
		Scan(&m.ID, &m.MessageType, &m.BusinessKey1, &m.BusinessKey2)
	require.NoError(s.t, err)
	body, err := m.Body()
	require.NoError(s.t, err)
	publisher, err := mq.NewPublisher(s.amqp, []string{models.Queues()[models.OrderCourse]}, nil)
	require.NoError(s.t, err)
	defer func() { _ = publisher.Close() }()
	require.NoError(s.t, publisher.Publish(s.t.Context(), mq.Message{ID: m.ID.String(), Body: body}))
}
