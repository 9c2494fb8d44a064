// The page's words: Chinese first, English at a click. {name} stands for a value.

const words = {
  skip: ['跳到正文', 'Skip to content'],
  brand: ['学成课堂', 'XueCheng'],
  nav: ['主导航', 'Main'],
  courses: ['课程', 'Courses'],
  mine: ['我的课程', 'My courses'],
  orders: ['我的订单', 'My orders'],
  logOut: ['退出', 'Log out'],
  pickUser: ['选择一位演示用户', 'Pick a demo user'],
  notLoggedIn: ['请登录', 'Please log in'],
  pleaseLogIn: ['请登录后继续选课。', 'Please log in to go on.'],
  operator: ['运营', 'operator'],
  close: ['关闭', 'Close'],
  failed: ['出了点问题', 'Something went wrong'],
  tryAgain: ['再试一次', 'Try again'],
  reconnecting: ['连接中断，正在重试…', 'Connection lost, trying again…'],
  pages: ['分页', 'Pages'],
  previous: ['上一页', 'Previous'],
  next: ['下一页', 'Next'],
  pageOf: ['第 {page} / {last} 页，共 {counts} 条', 'Page {page} of {last}, {counts} in all'],

  coursesTitle: ['选一门课，马上开始', 'Choose a course and begin'],
  materials: ['学习资料', 'Materials'],
  materialsHint: ['配套源码、讲义与题库，一次购买，长期下载。', 'Source code, handouts and questions: buy once, download whenever you like.'],
  free: ['免费', 'Free'],
  original: ['原价', 'Was'],
  validFor: ['有效期 {days} 天', 'Valid for {days} days'],
  details: ['查看课程', 'View course'],
  learnNow: ['马上学习', 'Start learning'],
  goLearn: ['进入学习', 'Go to my courses'],
  renew: ['续期学习', 'Renew'],
  buy: ['购买', 'Buy'],
  freeHow: ['免费课程，点击后立即开通。', 'Free: yours at a click.'],
  paidHow: ['点击后用支付宝扫码付款，到账即开通。有效期从付款时算起。', 'Scan a code with Alipay; the course opens as soon as you have paid. Its validity begins then.'],
  learning: ['学习中', 'Learning'],
  expired: ['已过期', 'Expired'],
  notEnrolled: ['未选课', 'Not enrolled'],
  until: ['有效期至 {date}', 'Valid until {date}'],
  alreadyYours: ['已经在你的课程里了', 'This is yours already'],
  alreadyYourMaterial: ['已经在你的资料里了', 'This is yours already'],
  enrolled: ['报名成功', 'You are enrolled'],
  backToCourses: ['返回课程', 'Back to courses'],

  payTitle: ['支付宝扫码支付', 'Pay with Alipay'],
  making: ['正在生成二维码…', 'Making your code…'],
  qrAlt: ['支付二维码：{name}，{price}', 'Code to pay with: {name}, {price}'],
  waiting: ['等待付款', 'Waiting for your payment'],
  timeLeft: ['剩余付款时间', 'Time left to pay'],
  oneMinute: ['还有一分钟可以付款', 'One minute left to pay'],
  codeExpired: ['二维码已过期', 'This code has expired'],
  codeExpiredHint: ['如果手机上刚刚付了款，请稍等，这里会自动显示结果。', 'If you have just paid on your phone, wait a moment: the result will show here.'],
  newCode: ['重新获取二维码', 'Get a new code'],
  openHere: ['在本机打开付款页面', 'Pay on this device'],
  payDone: ['支付完成', 'I have paid'],
  payLater: ['稍后再付', 'Pay later'],
  notYet: ['还没有收到付款，请完成付款后再试', 'No payment yet. Finish paying, then try again.'],
  asking: ['正在查询…', 'Checking…'],
  paid: ['支付成功', 'Payment received'],
  paidCourse: ['课程已开通', 'The course is yours'],
  paidMaterial: ['资料已可下载', 'The material is yours'],
  goesBack: ['付款正在退回', 'Your payment is on its way back'],
  goesBackHint: ['这笔付款没有用上，款项正在原路退回', 'This payment bought nothing; the money goes back the way it came'],
  givenBack: ['这笔付款已退回', 'This payment has been given back'],
  scanHint: ['打开支付宝「扫一扫」', 'Scan with Alipay'],
  keptHint: ['订单已保留，可以在「我的订单」继续支付', 'Your order is kept: pay for it any time in My orders'],

  courseType: ['类型', 'Type'],
  all: ['全部', 'All'],
  paidType: ['收费', 'Paid'],
  sort: ['排序', 'Sort by'],
  byStudy: ['最近学习', 'Last studied'],
  byJoin: ['加入时间', 'Date joined'],
  validity: ['有效期', 'Validity'],
  soon: ['30 天内到期', 'Runs out within 30 days'],
  ranOut: ['已过期', 'Expired'],
  joined: ['{date} 加入', 'Joined {date}'],
  boughtOn: ['{date} 购买', 'Bought {date}'],
  daysLeft: ['还剩 {days} 天', '{days} days left'],
  noCourses: ['这里还没有课程', 'No courses here yet'],
  noMaterials: ['还没有购买过资料', 'No materials yet'],
  choose: ['去选课', 'Choose one'],
  myMaterials: ['我的资料', 'My materials'],

  orderStatus: ['状态', 'Status'],
  600001: ['待支付', 'Unpaid'],
  600002: ['已支付', 'Paid'],
  600003: ['已关闭', 'Closed'],
  600004: ['已退款', 'Refunded'],
  600005: ['已完成', 'Finished'],
  60201: ['课程', 'Course'],
  60202: ['学习资料', 'Material'],
  noOrders: ['还没有订单', 'No orders yet'],
  orderNo: ['订单号', 'Order'],
  payBefore: ['请在 {date} 前付款', 'Pay before {date}'],
  refundedTotal: ['已退 {amount}', '{amount} given back'],
  goOnPaying: ['继续支付', 'Pay now'],
  payAgain: ['重新购买', 'Buy again'],
  cancel: ['取消订单', 'Cancel order'],
  cancelTitle: ['取消这个订单？', 'Cancel this order?'],
  cancelText: ['「{name}」的二维码将不能再付款。之后可以重新购买。', 'The code for “{name}” can no longer be paid. You can buy it again later.'],
  cancelYes: ['取消订单', 'Cancel the order'],
  cancelNo: ['保留', 'Keep it'],
  cancelled: ['订单已取消', 'The order is cancelled'],

  opsBrand: ['订单运营', 'Order operations'],
  attention: ['待处理', 'Needs attention'],
  searchOrders: ['查订单', 'Find orders'],
  noRight: ['没有操作权限', 'You may not do that'],
  noRightHint: ['此页面需要运营角色，请换一个账号登录。', 'This page needs the role ops: log in as somebody else.'],
  nothingWaits: ['没有需要人工处理的事项', 'Nothing waits for an operator'],
  waitsSince: ['自 {date} 等待处理', 'Waiting since {date}'],
  reason: ['原因', 'Reason'],
  amount: ['金额', 'Amount'],
  payNo: ['支付单号', 'Pay number'],
  tradeNo: ['支付宝交易号', 'Trade number'],
  requestNo: ['退款请求号', 'Refund request'],
  userId: ['用户', 'User'],
  workflow: ['在 Temporal 中查看', 'Show in Temporal'],
  workflowId: ['工作流', 'Workflow'],
  story: ['查看订单全程', 'Show the whole story'],
  parkedPayment: ['付款无法入账', 'A payment that the books refuse'],
  parkedRefund: ['退款被拒绝', 'A refund that Alipay refuses'],
  retry: ['重试', 'Retry'],
  refund: ['退款', 'Refund'],
  end: ['结束', 'Close'],
  retryHint: ['原因已经排除，让系统再试一次。', 'The cause is mended: try the step that failed once more.'],
  refundHint: ['把这笔付款原路退还给买家。', 'Give this payment back to the buyer.'],
  endHint: ['已经在系统之外处理好，不再等待。', 'Dealt with by hand: stop waiting.'],
  note: ['处理说明（必填，写入审计记录）', 'Why (required, kept in the audit trail)'],
  decide: ['确定', 'Decide'],
  decided: ['已记录：{action}', 'Noted: {action}'],
  noteMissing: ['请填写说明', 'Please say why'],
  searchLabel: ['订单号、支付单号、支付宝交易号、用户或退款请求号', 'Order, pay number, trade number, user or refund request'],
  search: ['查询', 'Search'],
  found: ['{counts} 个订单', '{counts} orders'],
  noneFound: ['没有找到订单，请检查号码是否完整', 'No order found: numbers have to be complete'],
  timeline: ['时间线', 'Timeline'],
  show: ['显示', 'Show'],
  order: ['订单', 'Order'],
  attempt: ['支付尝试', 'Attempt'],
  callback: ['回调', 'Callback'],
  message: ['消息', 'Message'],
  audit: ['审计', 'Audit'],
  case: ['人工', 'Operator'],
  orderMade: ['订单创建', 'Order made'],
  codeMade: ['生成二维码', 'Code made'],
  pageOpened: ['打开付款页面', 'Payment page opened'],
  superseded: ['不再使用', 'No longer handed out'],
  attemptClosed: ['关闭，不能再付款', 'Closed, can no longer be paid'],
  attemptExpired: ['付款时间截止', 'Time to pay is over'],
  attemptPaid: ['付款成功', 'Paid'],
  refundAsked: ['登记退款', 'Refund asked for'],
  refundDone: ['退款成功', 'Given back'],
  parked: ['等待人工处理', 'Waits for an operator'],
  accepted: ['已受理', 'accepted'],
  duplicate: ['重复', 'duplicate'],
  ignored: ['忽略', 'ignored'],
  refused: ['拒绝', 'refused'],
  failedVerdict: ['处理失败', 'failed'],
  delivered: ['已送达', 'delivered'],
  undelivered: ['未送达', 'not delivered'],
  giveBack: ['退款…', 'Refund…'],
  refundTitle: ['退款给买家', 'Give money back'],
  refundAmount: ['金额（元，最多 {max}）', 'Amount (yuan, at most {max})'],
  refundReason: ['原因（会告知买家）', 'Reason (told to the buyer)'],
  refundSend: ['提交退款', 'Give back'],
  refundSent: ['退款已提交', 'The refund is on its way'],
  badAmount: ['请填写 0.01 到 {max} 之间的金额', 'An amount from 0.01 to {max}, please'],
  bought: ['购买内容', 'Bought'],
};

// What the server refuses, for those who do not read its Chinese messages.
const refusals = {
  OFFLINE: ['网络不通，请稍后再试', 'No connection. Please try again.'],
  UNAUTHORIZED: [null, 'Please log in to go on.'],
  FORBIDDEN: [null, 'You may not do that.'],
  INVALID_REQUEST: [null, 'The request is not valid.'],
  NOT_FOUND: [null, 'There is no such thing.'],
  COURSE_NOT_FOUND: [null, 'The course does not exist, or is not on offer.'],
  MATERIAL_NOT_FOUND: [null, 'The material does not exist, or is not on offer.'],
  CHOOSE_COURSE_NOT_FOUND: [null, 'This choice does not exist.'],
  PAY_RECORD_NOT_FOUND: [null, 'There is no such payment.'],
  PRICE_MISMATCH: [null, 'The price does not fit. Please choose again.'],
  PRICE_CHANGED: [null, 'The price has changed. Please choose again.'],
  ORDER_PAID: [null, 'The order is paid.'],
  ORDER_REFUNDED: [null, 'The order was given back. Please choose again.'],
  ORDER_NOT_PAID: [null, 'The order is not paid, so nothing can go back.'],
  REFUND_TOO_MUCH: [null, 'That is more than can go back.'],
  REFUND_DIFFERS: [null, 'Another refund has this number already.'],
  ALREADY_DECIDED: [null, 'This was decided already. Please refresh.'],
  PAYMENT_DONE: [null, 'This is paid already.'],
  PAY_CODE_EXPIRED: [null, 'Please get a new code.'],
  TOO_MANY_REQUESTS: [null, 'Too fast. Please try again in a moment.'],
  UNAVAILABLE: [null, 'The payment service is away. Please try again in a moment.'],
};

let current = localStorage.getItem('language') === 'en' ? 'en' : 'zh';

export const language = () => current;

export function setLanguage(next) {
  current = next;
  localStorage.setItem('language', next);
}

// t gives the words of a key.
export function t(key, values = {}) {
  const [zh, en] = words[key] ?? [key, key];
  return (current === 'zh' ? zh : en).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}

export const known = (key) => key in words;

// errorText tells a refusal of the server's to the user.
export function errorText(body) {
  const [zh, en] = refusals[body?.code] ?? [];
  const fallback = current === 'zh' ? '执行过程异常，请重试' : 'Something went wrong. Please try again.';
  return (current === 'zh' ? zh ?? body?.errMessage : en) ?? fallback;
}

export const money = (amount) => `¥${Number(amount).toFixed(2)}`;

// when reads the API's dates, which are China's.
export const when = (date) => new Date(`${date.replace(' ', 'T')}+08:00`);

// day and minute show a date of the API's: in China's time, as it came.
export const day = (date) => date.slice(0, 10);
export const minute = (date) => date.slice(0, 16);
