package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/sdk/v1"

	"coursepay/internal/buyer"
	"coursepay/models"
	"coursepay/workflows"
)

// atDesk are the situations, by the section of the manual that tells what to do about them.
var atDesk = map[string]func(t *testing.T, heading string){
	preparation:                                       tryPreparation,
	"Find an order":                                   tryFinding,
	"A payment waits for an operator":                 tryParkedPayment,
	"A refund waits for an operator":                  tryParkedRefund,
	"Give money back":                                 tryRefund,
	"Cancel an order for a learner":                   tryCancelling,
	"An activity fails again and again, or is paused": tryPausing,
	"Alipay is down, slow, or limits us":              tryAlipayDown,
	"A payment that nobody told us of":                tryReconciling,
	"A message is stuck in the outbox":                tryStuckMessage,
	"Dead letters":                                    tryDeadLetters,
	"Are the books right?":                            tryAudit,
	"Go back to an earlier point":                     tryReset,
	"End a workflow by force":                         tryTerminating,
	"What to watch":                                   tryWatching,
}

// atMall are those for which a part of the stack has to go down.
var atMall = []struct {
	heading string
	try     func(m *mall, t *testing.T, d *desk)
}{
	{"The message broker is down", (*mall).tryBrokerDown},
	{"The database is down", (*mall).tryDatabaseDown},
	{"No worker runs", (*mall).tryNoWorker},
	{"Temporal is down", (*mall).tryEngineDown},
}

// Every section of the operators' manual is tried in the situation that it is about, and every command in it is run. Red:
// a command that is mistyped, that nothing runs, or that does not do what the manual promises.
func TestManual(t *testing.T) {
	t.Parallel()
	sections := slices.Collect(maps.Keys(atDesk))
	for _, s := range atMall {
		sections = append(sections, s.heading)
	}
	require.ElementsMatch(t, readManual(t).headings, sections, "sections with commands, and those that are tried")
	for heading, try := range atDesk {
		t.Run(heading, func(t *testing.T) {
			t.Parallel()
			try(t, heading)
		})
	}
}

func TestManualWhenPartsAreDown(t *testing.T) {
	m := openMall(t)
	checkout := m.checkout()
	for _, s := range atMall {
		t.Run(s.heading, func(t *testing.T) { s.try(m, t, sit(t, s.heading, checkout)) })
	}
}

func tryPreparation(t *testing.T, heading string) {
	s := openShop(t, options{})
	d := sit(t, heading, s.checkout())
	choice, _ := s.codeFor("52")
	bothTools(func(tool string) {
		require.True(t, waitFor(func() bool {
			out, err := d.shell(tool + "workflow list --query 'ExecutionStatus=\"Running\"'")
			return err == nil && strings.Contains(out, choice.ID)
		}), tool)
	})
	for _, line := range d.commands { // they have all been run, before each command
		d.tried[line] = true
	}
}

func tryFinding(t *testing.T, heading string) {
	s := openShop(t, options{poll: []time.Duration{100 * time.Millisecond}})
	d := sit(t, heading, s.checkout())
	choice, record := s.codeFor("52")
	s.codeFor("53")
	d.about(choice, record).with("USER_ID", "52")
	bothTools(func(tool string) {
		for _, by := range []string{"OrderId", "PayNo", "UserId"} {
			out := d.until(choice.ID, tool+"workflow list", by+"=")
			require.Equal(t, 1, strings.Count(out, "pay-order-"), "one order: %s", out)
		}
	})
	require.Contains(t, d.run("psql"), record.OrderID)
	require.Contains(t, d.run("/ops/orders/"), `"workflowId":"`+d.variables["ORDER_WORKFLOW"]+`"`)

	require.True(t, waitFor(func() bool { return s.watchWaits(choice) }))
	for _, query := range []string{"temporal workflow query", "tctl workflow query"} {
		out := d.run(query, " state")
		require.Contains(t, out, "等待买家付款 · waiting for the buyer to pay")
		require.Contains(t, out, record.PayNo)
	}
	require.Contains(t, d.run("temporal workflow metadata"), "等待买家付款 · waiting for the buyer to pay")
	require.Contains(t, d.run("__temporal_workflow_metadata"), "等待买家付款 · waiting for the buyer to pay")
	bothTools(func(tool string) {
		out := d.run(tool + "workflow describe")
		require.Contains(t, out, "WatchPayment")
		require.Contains(t, out, "nobody has paid yet")
		require.Contains(t, d.run(tool+"workflow show"), "WorkflowExecutionUpdateCompleted")
	})
}

// parked is a payment that the books refuse. mend ends the cause.
func (s *shop) parked(user string) (choice buyer.Choice, record buyer.PayRecord, mend func()) {
	s.t.Helper()
	choice, record = s.codeFor(user)
	phone, cashier := s.open(record)
	s.exec(`create table if not exists kept as select * from xc_choose_course where false`)
	s.exec(`insert into kept select * from xc_choose_course where user_id = '` + user + `'`)
	s.exec(`delete from xc_choose_course where user_id = '` + user + `'`)
	_, err := phone.Pay(s.t.Context(), cashier)
	require.NoError(s.t, err)
	s.eventually(1, `select count(*) from ops_attention where decide_date is null and pay_no = $1`, record.PayNo)
	return choice, record, func() {
		s.exec(`insert into xc_choose_course select * from kept where user_id = '` + user + `'`)
	}
}

func tryParkedPayment(t *testing.T, heading string) {
	s := openShop(t, options{})
	d := sit(t, heading, s.checkout())
	bothTools(func(tool string) {
		user := "retry by " + tool
		choice, record, mend := s.parked(user)
		d.about(choice, record)
		require.Contains(t, d.until(choice.ID, tool+"workflow list", "NeedsOperator=true"), choice.ID)
		require.Contains(t, d.run("/ops/attention"), record.PayNo)
		details := d.run("temporal workflow metadata")
		require.Contains(t, details, "需要人工处理 · needs an operator")
		require.Contains(t, details, "选课记录不存在")
		mend()
		d.run(tool, `"action":"retry"`)
		s.enrolled(user)
		s.eventually(1, `select count(*) from xc_orders where status = '600002' and id = $1`, record.OrderID)
		s.decided(record, "retry", "row restored")
	})
	bothTools(func(tool string) {
		choice, record, _ := s.parked("refund by " + tool)
		d.about(choice, record).run(tool, `"action":"refund"`)
		s.eventually(1, `select count(*) from xc_pay_record where status = '601003' and pay_no = $1`, record.PayNo)
		s.eventually(1, `select count(*) from xc_orders where status = '600003' and id = $1`, record.OrderID)
		require.Equal(t, price, s.givenBack(record.PayNo))
		s.ends(workflows.RefundID(orderID(t, record), "R"+record.PayNo), enums.WORKFLOW_EXECUTION_STATUS_COMPLETED)
		s.decided(record, "refund", "told the learner")
	})
	bothTools(func(tool string) {
		choice, record, _ := s.parked("close by " + tool)
		d.about(choice, record).run(tool, `"action":"close"`)
		s.eventually(1, `select count(*) from xc_orders where status = '600003' and id = $1`, record.OrderID)
		s.ends(d.variables["ORDER_WORKFLOW"], enums.WORKFLOW_EXECUTION_STATUS_COMPLETED)
		require.Contains(t, []string{"", "0.00"}, s.givenBack(record.PayNo))
		s.decided(record, "close", "refunded in the console")
	})
	require.NotContains(t, d.run("/ops/attention"), "payNo")
}

// decided: the decision and the operator's note are kept.
func (s *shop) decided(record buyer.PayRecord, decision, note string) {
	s.t.Helper()
	s.eventually(1, `select count(*) from ops_attention where pay_no = $1 and decision = $2 and note = $3`, record.PayNo, decision, note)
}

// ends waits until the newest run of a workflow has ended like that.
func (s *shop) ends(workflowID string, want enums.WorkflowExecutionStatus) {
	s.t.Helper()
	var status enums.WorkflowExecutionStatus
	require.True(s.t, waitFor(func() bool {
		d, err := s.engine.DescribeWorkflowExecution(s.t.Context(), workflowID, "")
		status = d.GetWorkflowExecutionInfo().GetStatus()
		return err == nil && status == want
	}), "%s is %s", workflowID, status)
}

func tryParkedRefund(t *testing.T, heading string) {
	s := openShop(t, options{})
	d := sit(t, heading, s.checkout())
	parked := func(user string) (buyer.PayRecord, refundView) {
		choice, record := s.bought(user)
		s.faults(`{"refund":{"sellerBalance":1}}`)
		refund := s.refund(record.OrderID, "", map[string]any{"reason": "x"})
		s.eventually(1, `select count(*) from ops_attention where decide_date is null and request_no = $1`, refund.OutRequestNo)
		s.faults(`{}`)
		d.about(choice, record).with("REFUND_WORKFLOW", workflows.RefundID(orderID(t, record), refund.OutRequestNo))
		return record, refund
	}
	bothTools(func(tool string) {
		record, refund := parked("retry by " + tool)
		d.until(refund.OutRequestNo[:8], tool+"workflow list")
		for _, look := range []string{"temporal workflow metadata", "temporal workflow query"} {
			require.Contains(t, d.run(look), "支付宝拒绝退款")
		}
		d.run(tool, `"action":"retry"`)
		s.eventually(1, `select count(*) from xc_refund_record where status = 'refunded' and request_no = $1`, refund.OutRequestNo)
		s.eventually(1, `select count(*) from xc_orders where status = '600004' and id = $1`, record.OrderID)
		require.Equal(t, price, s.givenBack(record.PayNo))
	})
	bothTools(func(tool string) {
		record, refund := parked("close by " + tool)
		d.run(tool, `"action":"close"`)
		s.eventually(1, `select count(*) from xc_refund_record where status = 'closed' and note = 'the learner changed her mind' and request_no = $1`, refund.OutRequestNo)
		require.Equal(t, 1, s.count(`select count(*) from xc_orders where status = '600002' and id = $1`, record.OrderID))
		s.refund(record.OrderID, "", map[string]any{"reason": "under another number"})
		s.eventually(1, `select count(*) from xc_orders where status = '600004' and id = $1`, record.OrderID)
	})
}

func tryRefund(t *testing.T, heading string) {
	s := openShop(t, options{})
	choice, record := s.bought("52")
	d := sit(t, heading, s.checkout()).about(choice, record)
	for range 2 { // the same key is the same refund
		require.Contains(t, d.run("Idempotency-Key"), `"reason":"不想学了"`)
	}
	s.eventually(1, `select count(*) from xc_orders where status = '600004'`)
	s.learns("52", "702002")
	require.Equal(t, price, s.givenBack(record.PayNo))
	require.Equal(t, 1, s.count(`select count(*) from xc_refund_record`))
	require.Contains(t, d.run(`/refunds" -H "Auth`), `"status":"refunded"`)
	d.until("RefundWorkflow", "temporal workflow list")
}

func tryCancelling(t *testing.T, heading string) {
	s := openShop(t, options{})
	d := sit(t, heading, s.checkout())
	bothTools(func(tool string) {
		choice, record := s.codeFor("by " + tool)
		d.about(choice, record).run(tool)
		s.eventually(1, `select count(*) from xc_orders where status = '600003' and id = $1`, record.OrderID)
		require.Equal(t, 1, s.count(`select count(*) from order_audit where event = 'cancelled' and order_id = $1`, record.OrderID))
	})
}

func tryPausing(t *testing.T, heading string) {
	s := openShop(t, options{poll: []time.Duration{100 * time.Millisecond}})
	d := sit(t, heading, s.checkout())
	s.faults(`{"notify":{"drop":1}}`)
	for _, letGoOn := range []string{"activity unpause", "activity reset"} {
		choice, record := s.codeFor(letGoOn)
		d.about(choice, record)
		require.True(t, waitFor(func() bool { return s.watchWaits(choice) }))
		d.run("activity pause")
		s.pay(record)
		require.Regexp(t, `(?i)paused`, d.run("temporal workflow describe"))
		bothTools(func(tool string) { require.Contains(t, d.run(tool+"workflow describe"), "nobody has paid yet") })
		require.Zero(t, s.count(`select count(*) from xc_course_tables where user_id = $1`, letGoOn))
		d.run(letGoOn)
		s.enrolled(letGoOn)
	}

	choice, record := s.codeFor("paused, and told")
	d.about(choice, record)
	require.True(t, waitFor(func() bool { return s.watchWaits(choice) }))
	d.run("activity pause")
	s.faults(`{}`)
	s.pay(record)
	s.enrolled("paused, and told")
}

var activityID = regexp.MustCompile(`ActivityId\s+(\S+)`)

func tryAlipayDown(t *testing.T, heading string) {
	s := openShop(t, options{})
	choice, record := s.bought("52")
	s.faults(`{"gateway":{"http5xx":1}}`)
	refund := s.refund(record.OrderID, "", map[string]any{"reason": "x"})
	d := sit(t, heading, s.checkout()).about(choice, record).
		with("REFUND_WORKFLOW", workflows.RefundID(orderID(t, record), refund.OutRequestNo))
	bothTools(func(tool string) {
		require.Contains(t, d.until("gateway answered", tool+"workflow describe"), "SendRefund")
	})
	d.with("ACTIVITY_ID", activityID.FindStringSubmatch(d.run("temporal workflow describe"))[1])
	require.Regexp(t, `MaximumInterval\s+10s`, d.run("activity update-options"))
	s.faults(`{}`)
	d.unlessOver("activity reset")
	s.eventually(1, `select count(*) from xc_refund_record where status = 'refunded'`)
	require.Equal(t, price, s.givenBack(record.PayNo))
}

func tryReconciling(t *testing.T, heading string) {
	var clock turning
	s := openShop(t, options{alipayTime: clock.now})
	d := sit(t, heading, s.checkout())
	s.faults(`{"notify":{"drop":1}}`)
	lost := func(user string, ahead time.Duration) {
		choice, record := s.codeFor(user)
		clock.ahead.Store(int64(ahead))
		phone, cashier := s.open(record)
		s.loseStory(choice)
		_, err := phone.Pay(t.Context(), cashier)
		require.NoError(t, err)
	}
	lost("swept", 0)
	s.timePasses()
	require.Contains(t, d.run("--sweep"), "1 payments found")
	s.enrolled("swept")

	lost("billed", -24*time.Hour+5*time.Second) // as far back as Alipay takes our requests' timestamps
	d.with("BILL_DATE", clock.now().In(models.China).Format(models.BillDayLayout))
	clock.ahead.Store(int64(12 * time.Hour)) // certainly after the hour at which it is ready
	require.Contains(t, d.run("--date"), "1 payments found")
	s.enrolled("billed")

	d.until("reconcile-by-hand-sweep", "WorkflowType='ReconcileWorkflow'")
	d.run("schedule list")
}

func tryStuckMessage(t *testing.T, heading string) {
	s := openShop(t, options{})
	d := sit(t, heading, s.checkout())
	choice, record := s.codeFor("52")
	s.loseStory(choice)
	payNo, err := models.ParseID(record.PayNo)
	require.NoError(t, err)
	_, err = s.store.Settle(t.Context(), models.Payment{PayNo: payNo, TradeNo: "T1", Amount: 129_00, PaidAt: time.Now()})
	require.NoError(t, err)
	require.Contains(t, d.run("psql"), "payresult_notify")
	s.timePasses()
	require.Contains(t, d.run("--sweep"), "1 settlings")
	s.enrolled("52")
	require.Equal(t, 1, s.count(`select count(*) from mq_message_history`))
}

func tryDeadLetters(t *testing.T, heading string) {
	s := openShop(t, options{})
	d := sit(t, heading, s.checkout())
	one, _ := s.bought("one")
	all, _ := s.bought("all")
	s.exec(`delete from xc_course_tables`)
	s.exec(`alter table xc_course_tables rename to hidden`)
	s.tell("m1", one)
	s.tell("m2", all)
	d.until("m1\t", "dlq list") // beside them, perhaps, the orders' own messages: the subscriber may not have had them yet
	out := d.until("m2\t", "dlq list")
	require.Contains(t, out, one.ID)
	require.Contains(t, out, "xc_course_tables", "why it failed")
	require.Contains(t, d.run("dlq list", "material"), "0 messages in paynotify_material_queue.dlq")
	s.exec(`alter table hidden rename to xc_course_tables`)
	require.Contains(t, d.with("MESSAGE_ID", "m1").run("dlq replay", "MESSAGE_ID"), "1 messages replayed")
	s.enrolled("one")
	require.Contains(t, d.run("dlq list"), "m2\t", "the other message stays")
	require.Regexp(t, `[1-3] messages replayed`, d.run("dlq replay"))
	s.enrolled("all")
	d.until("0 messages in paynotify_queue.dlq", "dlq list")
}

// tell publishes the message about a paid order once more.
func (s *shop) tell(id string, choice buyer.Choice) {
	s.t.Helper()
	connection, err := amqp.Dial(s.amqp)
	require.NoError(s.t, err)
	defer func() { _ = connection.Close() }()
	channel, err := connection.Channel()
	require.NoError(s.t, err)
	body, err := json.Marshal(map[string]any{
		"id": 1, "messageType": models.MessagePayResult, "businessKey1": choice.ID, "businessKey2": models.OrderCourse,
	})
	require.NoError(s.t, err)
	require.NoError(s.t, channel.PublishWithContext(s.t.Context(), "", models.Queues()[models.OrderCourse], true, false,
		amqp.Publishing{MessageId: id, Body: body, DeliveryMode: amqp.Persistent}))
}

func tryAudit(t *testing.T, heading string) {
	s := openShop(t, options{})
	d := sit(t, heading, s.checkout())
	s.bought("52")
	s.parked("waits")
	for _, command := range []string{"audit", "audit --alipay"} {
		out := d.run(command)
		require.NotContains(t, out, "FAULT")
		require.Contains(t, out, "waits ")
	}
	s.exec(`delete from xc_course_tables where user_id = '52'`)
	for _, command := range []string{"audit", "audit --alipay"} {
		require.Contains(t, d.fails(command), "FAULT")
	}
}

// run is the id of the workflow's newest run.
func (s *shop) run(workflowID string) string {
	s.t.Helper()
	d, err := s.engine.DescribeWorkflowExecution(s.t.Context(), workflowID, "")
	require.NoError(s.t, err)
	return d.GetWorkflowExecutionInfo().GetExecution().GetRunId()
}

// beforeSignal is the last completed workflow task before the workflow's first operator signal.
func (s *shop) beforeSignal(workflowID string) string {
	s.t.Helper()
	history := s.engine.GetWorkflowHistory(s.t.Context(), workflowID, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	last := int64(0)
	for history.HasNext() {
		event, err := history.Next()
		require.NoError(s.t, err)
		if event.GetWorkflowExecutionSignaledEventAttributes().GetSignalName() == workflows.SignalOperator {
			break
		}
		if event.GetEventType() == enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			last = event.GetEventId()
		}
	}
	return fmt.Sprint(last)
}

func tryReset(t *testing.T, heading string) {
	s := openShop(t, options{})
	d := sit(t, heading, s.checkout())
	bothTools(func(tool string) {
		choice, record, _ := s.parked("closed by mistake, " + tool)
		d.about(choice, record)
		order := d.variables["ORDER_WORKFLOW"]
		s.decide(order, workflows.ActionClose)
		s.ends(order, enums.WORKFLOW_EXECUTION_STATUS_COMPLETED)
		require.Regexp(t, `WorkflowExecutionSignaled`, d.run(tool+"workflow show"))
		d.with("EVENT_ID", s.beforeSignal(order)).run(tool, "workflow reset", "EVENT_ID")
		s.ends(order, enums.WORKFLOW_EXECUTION_STATUS_RUNNING)
		require.True(t, waitFor(func() bool { return s.needsHelp(order) }))
		s.decide(order, workflows.ActionRefund)
		s.eventually(1, `select count(*) from xc_pay_record where status = '601003' and pay_no = $1`, record.PayNo)
		require.Equal(t, price, s.givenBack(record.PayNo))
		s.ends(order, enums.WORKFLOW_EXECUTION_STATUS_COMPLETED)
	})
	bothTools(func(tool string) {
		user := "goes on, " + tool
		choice, record := s.codeFor(user)
		d.about(choice, record)
		order := d.variables["ORDER_WORKFLOW"]
		before := s.run(order)
		d.run(tool, "workflow reset", "LastWorkflowTask")
		require.NotEqual(t, before, s.run(order))
		s.pay(record)
		s.enrolled(user)
		s.ends(order, enums.WORKFLOW_EXECUTION_STATUS_COMPLETED)

		d.run(tool, "workflow reset", "LastWorkflowTask") // of one that is over: all of it is in the books already
		s.ends(order, enums.WORKFLOW_EXECUTION_STATUS_COMPLETED)
		require.Equal(t, 1, s.count(`select count(*) from order_audit where event = 'paid' and order_id = $1`, record.OrderID))
		s.enrolled(user)
	})
}

func (s *shop) decide(workflowID, action string) {
	s.t.Helper()
	require.NoError(s.t, s.engine.SignalWorkflow(s.t.Context(), workflowID, "", workflows.SignalOperator, workflows.Operator{Action: action}))
}

// needsHelp says whether the workflow itself says that it waits for an operator.
func (s *shop) needsHelp(workflowID string) bool {
	s.t.Helper()
	var state workflows.State
	answer, err := s.engine.QueryWorkflow(s.t.Context(), workflowID, "", workflows.QueryState)
	return err == nil && answer.Get(&state) == nil && state.NeedsHelp != ""
}

func tryTerminating(t *testing.T, heading string) {
	s := openShop(t, options{})
	d := sit(t, heading, s.checkout())
	terminated := func(tool, user string) (buyer.Choice, buyer.PayRecord) {
		choice, record := s.codeFor(user)
		d.about(choice, record).run(tool + "workflow terminate")
		s.ends(d.variables["ORDER_WORKFLOW"], enums.WORKFLOW_EXECUTION_STATUS_TERMINATED)
		return choice, record
	}
	bothTools(func(tool string) {
		user := "cancelled by " + tool
		choice, record := s.codeFor(user)
		d.about(choice, record).run(tool + "workflow cancel")
		s.pay(record)
		s.enrolled(user)
	})
	bothTools(func(tool string) {
		user := "asks again, " + tool
		choice, record := terminated(tool, user)
		fresh, err := s.learner(user).RequestCode(t.Context(), choice)
		require.NoError(t, err)
		require.Equal(t, record.OrderID, fresh.OrderID)
		s.pay(fresh)
		s.enrolled(user)
	})
	_, record := terminated("temporal ", "pays the old code")
	s.pay(record)
	s.enrolled("pays the old code")

	_, record = terminated("tctl ", "never comes back")
	s.timePasses()
	d.run("--sweep")
	s.eventually(1, `select count(*) from xc_orders where status = '600003' and id = $1`, record.OrderID)
	s.booksBalance()

	refunded, record := s.bought("is refunded")
	s.faults(`{"gateway":{"http5xx":1}}`)
	refund := s.refund(record.OrderID, "", map[string]any{"reason": "x"})
	d.about(refunded, record).with("ORDER_WORKFLOW", workflows.RefundID(orderID(t, record), refund.OutRequestNo))
	d.run("temporal workflow terminate")
	s.faults(`{}`)
	s.exec(`update xc_refund_record set create_date = create_date - interval '1 day'`)
	d.run("--sweep")
	s.eventually(1, `select count(*) from xc_orders where status = '600004' and id = $1`, record.OrderID)
	require.Equal(t, price, s.givenBack(record.PayNo))

	bothTools(func(tool string) {
		choice, record, _ := s.parked("waits for an operator, " + tool)
		d.about(choice, record).run(tool + "workflow terminate")
		order := d.variables["ORDER_WORKFLOW"]
		s.ends(order, enums.WORKFLOW_EXECUTION_STATUS_TERMINATED)
		require.Contains(t, d.run("--sweep"), "0 payments found", "nothing but an operator mends this")
		d.run(tool, "workflow reset")
		s.ends(order, enums.WORKFLOW_EXECUTION_STATUS_RUNNING)
		require.True(t, waitFor(func() bool { return s.needsHelp(order) }))
		s.decide(order, workflows.ActionRefund)
		s.eventually(1, `select count(*) from xc_pay_record where status = '601003' and pay_no = $1`, record.PayNo)
		s.decided(record, workflows.ActionRefund, "")
	})
	s.booksBalance()
}

func tryWatching(t *testing.T, heading string) {
	s := openShop(t, options{})
	d := sit(t, heading, s.checkout())
	s.parked("52")
	bothTools(func(tool string) { d.until("1", tool+"workflow count") })
	require.Contains(t, d.run("/readyz"), "ok")
}

// What the current details tell an operator to type is typed here, letter by letter, each command in a case of its own.
// Red: advice that a shell takes apart, or that names another payment.
func TestCurrentDetailsCanBeTyped(t *testing.T) {
	t.Parallel()
	s := openShop(t, options{})
	d := newDesk(t, s.checkout())
	s.tryAdvice(d, []string{"retry", "refund", "close"}, func(user string) (string, string) {
		choice, record, mend := s.parked(user)
		mend()
		return workflows.PayOrderID(models.OrderCourse, choice.ID), record.PayNo
	})
	s.tryAdvice(d, []string{"retry", "close"}, func(user string) (string, string) {
		_, record := s.bought("refund for " + user)
		s.faults(`{"refund":{"sellerBalance":1}}`)
		refund := s.refund(record.OrderID, "", map[string]any{"reason": "x"})
		s.eventually(1, `select count(*) from ops_attention where decide_date is null and request_no = $1`, refund.OutRequestNo)
		s.faults(`{}`)
		return workflows.RefundID(orderID(t, record), refund.OutRequestNo), record.PayNo
	})
}

// tryAdvice takes each piece of advice about a case that park makes, and sees it obeyed.
func (s *shop) tryAdvice(d *desk, actions []string, park func(user string) (workflowID, payNo string)) {
	s.t.Helper()
	var tried []string
	for i := 0; ; i++ {
		workflowID, payNo := park(fmt.Sprint("advice ", i))
		advice := s.advice(workflowID)
		command := advice[i]
		action := actionIn.FindStringSubmatch(command)
		require.NotNil(s.t, action, command)
		out, err := d.shell(command)
		require.NoError(s.t, err, out)
		s.eventually(1, `select count(*) from ops_attention where pay_no = $1 and decision = $2`, payNo, action[1])
		tried = append(tried, action[1])
		if i == len(advice)-1 {
			break
		}
	}
	slices.Sort(tried)
	require.ElementsMatch(s.t, actions, slices.Compact(tried))
}

var actionIn = regexp.MustCompile(`"action":"(\w+)"`)

// advice are the commands that the workflow's current details show, as code.
func (s *shop) advice(workflowID string) []string {
	s.t.Helper()
	answer, err := s.engine.QueryWorkflow(s.t.Context(), workflowID, "", "__temporal_workflow_metadata")
	require.NoError(s.t, err)
	var told sdk.WorkflowMetadata
	require.NoError(s.t, answer.Get(&told))
	var commands []string
	for line := range strings.Lines(told.GetCurrentDetails()) {
		if command, isCode := strings.CutPrefix(line, "    "); isCode {
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	require.NotEmpty(s.t, commands, told.GetCurrentDetails())
	return commands
}

// paying shows a code and opens the cashier; the function that is returned pays.
func (m *mall) paying(t *testing.T, d *desk, user string) (choice buyer.Choice, record buyer.PayRecord, pay func()) {
	t.Helper()
	choice, record = m.codeFor(t, user)
	d.about(choice, record)
	address, err := buyer.Scan(record.QRCode)
	require.NoError(t, err)
	phone, err := buyer.NewPhone()
	require.NoError(t, err)
	cashier, err := phone.OpenCashier(t.Context(), address)
	require.NoError(t, err)
	return choice, record, func() {
		t.Helper()
		_, err := phone.Pay(t.Context(), cashier)
		require.NoError(t, err)
	}
}

func (m *mall) tryBrokerDown(t *testing.T, d *desk) {
	choice, _, pay := m.paying(t, d, "desk-broker")
	require.NoError(t, m.stack.Service("rabbitmq").Stop(t.Context()))
	pay()
	m.eventually(t, 1, `select count(*) from xc_orders where out_business_id = $1 and status = '600002'`, choice.ID)
	require.Contains(t, d.until("publish message", "workflow describe"), "Settle")
	require.Contains(t, d.run("/ops/orders/"), `"delivered":false`)
	d.run("stack start rabbitmq")
	d.unlessOver("activity reset")
	m.delivered(t, "desk-broker", choice)
	require.Contains(t, d.run("/ops/orders/"), `"delivered":true`)
}

func (m *mall) tryDatabaseDown(t *testing.T, d *desk) {
	choice, _, pay := m.paying(t, d, "desk-database")
	require.NoError(t, m.stack.Service("postgres").Kill())
	pay()
	require.Contains(t, d.run("/readyz"), "503")
	require.Contains(t, d.run("workflow describe"), "WatchPayment")
	d.run("stack start postgres")
	m.delivered(t, "desk-database", choice)
	d.until("200", "/readyz")
}

func (m *mall) tryNoWorker(t *testing.T, d *desk) {
	choice, record, pay := m.paying(t, d, "desk-worker")
	require.NoError(t, m.stack.Service("worker").Kill())
	pay()
	m.eventually(t, 1, `select count(*) from pay_notify where pay_no = $1 and verdict = 'accepted'`, record.PayNo)
	bothTools(func(tool string) { require.Regexp(t, `(?i)poller`, d.run(tool)) })
	before := pollers(d.run("temporal "))
	d.run("stack start worker")
	m.delivered(t, "desk-worker", choice)
	require.True(t, waitFor(func() bool { return pollers(d.run("temporal ")) > before }), "the new worker is among them")
}

// pollers counts the workers that a task queue's description names.
func pollers(description string) int {
	return len(regexp.MustCompile(`(?m)^\s*UNVERSIONED\s+workflow\s+\S+@`).FindAllString(description, -1))
}

func (m *mall) tryEngineDown(t *testing.T, d *desk) {
	choice, record, pay := m.paying(t, d, "desk-engine")
	require.NoError(t, m.stack.Service("temporal").Kill())
	pay()
	m.eventually(t, 1, `select least(count(*), 1) from pay_notify where pay_no = $1 and verdict = 'failed'`, record.PayNo)
	bothTools(func(tool string) { d.fails(tool) })
	d.run("stack start temporal")
	bothTools(func(tool string) { require.Contains(t, d.run(tool), "SERVING") })
	m.delivered(t, "desk-engine", choice)
}
